"""How tight groups of features are, and how far apart: MI-UE's surrogate for mutual information, exact and cheap."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ray_ue.information.base import Features

ETA = 1e-3  # added to every variance, for a group of few rows has some that are zero; ours
MOST = 4096  # rows of a group whose determinant is taken, where features are wider than that


@dataclass(frozen=True, kw_only=True)
class Groupwise:
    """`logdet` is the mean over groups of 1/2 log det(covariance + ETA I); `intra` and `inter` are mean cosines of two rows."""

    logdet: float  # over groups of two rows or more; nan for none
    intra: float  # over all pairs of one group
    inter: float  # over all pairs of two groups


def groupwise(features: Features, groups: Int[np.ndarray, " n"]) -> Groupwise:
    """Rows of zeros have cosine 0 with everything. Memory grows with the rows, never with their square: sums of unit vectors suffice."""
    if not np.isfinite(features).all():
        raise ValueError(f"features of {len(features):,} rows hold values that are not finite; the network that gave them diverged")
    kinds, slot, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    length = np.linalg.norm(features, axis=1, keepdims=True).astype(np.float64)
    unit = features / np.where(length > 0, length, 1)
    sums = np.zeros((len(kinds), features.shape[1]))
    np.add.at(sums, slot, unit)
    alone = float((length > 0).sum())  # every row's cosine with itself
    within, total = float((sums**2).sum()), float((sums.sum(0) ** 2).sum())
    pairs, crossed = int((sizes * (sizes - 1)).sum()), int(len(groups) ** 2 - (sizes**2).sum())
    determinants = [_logdet(features[slot == place]) for place in range(len(kinds)) if sizes[place] > 1]
    return Groupwise(
        logdet=float(np.mean(determinants)) if determinants else float("nan"),
        intra=(within - alone) / pairs if pairs else float("nan"),
        inter=(total - within) / crossed if crossed else float("nan"),
    )


def _logdet(rows: Float[np.ndarray, "k D"]) -> float:
    """1/2 log det of the covariance (divided by k) plus ETA I, from the smaller of the two products that share its eigenvalues."""
    width = rows.shape[1]
    rows = rows[:MOST] if min(rows.shape) > MOST else rows
    apart = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    product = (apart.T @ apart if width <= len(apart) else apart @ apart.T) / len(apart)
    determined = float(np.linalg.slogdet(product + ETA * np.eye(len(product)))[1])
    return 0.5 * (determined + (width - len(product)) * float(np.log(ETA)))
