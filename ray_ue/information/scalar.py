"""Mutual information of two numbers per row, in nats: histogram, kernel density, nearest neighbours."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from scipy.special import digamma

from ray_ue.types import Rng

BLOCK = 500  # rows of one block of pairwise kernels
EDGE = 1e-9
JITTER = 1e-10  # of a standard deviation: breaks ties, moves nothing else

Numbers = Float[np.ndarray, " n"]


def histogram(u: Numbers, v: Numbers, *, bins: int) -> tuple[float, float]:
    """(plug-in value, Miller-Madow value) of `bins` x `bins` cells of equal width between the extremes.

    Miller and Madow (1955) add (occupied cells - 1) / 2n to each entropy; the difference corrects the information's first-order bias.
    """
    counts = np.bincount(_cells(u, bins) * bins + _cells(v, bins), minlength=bins * bins).reshape(bins, bins)
    parts = (counts.sum(1), counts.sum(0), counts.ravel())
    one, other, both = (_entropy(part) for part in parts)
    a, b, ab = (int((part > 0).sum()) for part in parts)
    plain = one + other - both
    return plain, plain + (a + b - ab - 1) / (2 * len(u))


def _cells(u: Numbers, bins: int) -> Int[np.ndarray, " n"]:
    low, high = float(u.min()), float(u.max())
    if not high > low:
        return np.zeros(len(u), np.int64)
    return np.minimum(((u.astype(np.float64) - low) * (bins / (high - low))).astype(np.int64), bins - 1)


def _entropy(counts: Int[np.ndarray, " k"]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def kde(u: Numbers, v: Numbers, *, device: torch.device) -> float:
    """Resubstitution mean of log p(u, v) / (p(u) p(v)) under one product of Gaussian kernels, whose marginals are the two densities.

    Scott's bandwidth for two dimensions: n^(-1/6) standard deviations of each coordinate. A constant tells nothing: 0.
    """
    if not (u.std() > 0 and v.std() > 0):
        return 0.0
    wide = len(u) ** (-1 / 6)
    a, b = (torch.from_numpy((x - x.mean()) / (x.std() * wide)).to(device, torch.float32) for x in (u, v))
    total = torch.zeros((), dtype=torch.float64, device=device)
    for rows in torch.arange(len(u), device=device).split(BLOCK):
        near, other = (torch.exp(-0.5 * (x[rows, None] - x[None]) ** 2) for x in (a, b))
        total += torch.log((near * other).mean(1) / (near.mean(1) * other.mean(1))).double().sum()
    return float(total) / len(u)


def knn(u: Numbers, v: Numbers, *, neighbours: int, rng: Rng) -> float:
    """Kraskov, Stögbauer and Grassberger (2004), equation 8 (KSG-1), in the maximum norm; may be slightly negative.

    Both coordinates are brought to unit variance, so that units do not matter, and get normal noise of 1e-10 standard deviations from
    `rng`, which breaks ties. A constant tells nothing: 0.
    """
    if not (u.std() > 0 and v.std() > 0):
        return 0.0
    points = np.stack([(x - x.mean()) / x.std() for x in (u.astype(np.float64), v.astype(np.float64))], 1)
    points += JITTER * rng.standard_normal(points.shape)
    far = KDTree(points).query(points, k=neighbours + 1, p=np.inf)[0][:, -1]
    inside = digamma(_within(points[:, 0], far) + 1) + digamma(_within(points[:, 1], far) + 1)
    return float(digamma(neighbours) + digamma(len(u)) - inside.mean())


def _within(x: Float[np.ndarray, " n"], far: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How many others lie strictly nearer than `far`, which is the distance of one of them: a sum may round up to it, so stay below."""
    near, order = far * (1 - EDGE), np.sort(x)
    counts = np.searchsorted(order, x + near, side="right") - np.searchsorted(order, x - near, side="left") - 1
    return np.maximum(counts, 0)
