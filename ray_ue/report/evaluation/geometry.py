"""Uniformity and discrepancy of features, and their projection to a plane."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from sklearn.decomposition import PCA

from ray_ue.types import Vectors

Points = Float32[np.ndarray, "n 2"]
BLOCK = 512  # rows of one block of pairwise distances, so that memory grows only linearly


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Statistics of features of length 1. `moved` is the mean distance between the clean and the protected feature of a row."""

    clean_uniformity: float
    protected_uniformity: float
    moved: float
    relative: float  # `moved` over the mean distance of two clean rows


def measure_geometry(clean: Vectors, protected: Vectors) -> Geometry:
    before, after = normalise(clean), normalise(protected)
    clean_uniformity, apart = pair_statistics(before)
    moved = float(np.linalg.norm(before - after, axis=1).mean())
    return Geometry(
        clean_uniformity=clean_uniformity,
        protected_uniformity=pair_statistics(after)[0],
        moved=moved,
        relative=moved / apart if apart > 0 else float("nan"),
    )


def normalise(vectors: Vectors) -> Vectors:
    """Rows of length 1; a zero row stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)


def pair_statistics(vectors: Vectors) -> tuple[float, float]:
    """(log of the mean of exp(-2 d^2), mean of d) over all pairs of two rows: the first is Wang & Isola (2020), equation 2, t = 2."""
    count = len(vectors)
    if count < 2:
        return float("nan"), float("nan")
    kernel, distance = 0.0, 0.0
    squares = (vectors.astype(np.float64) ** 2).sum(1)
    for start in range(0, count, BLOCK):
        part = vectors[start : start + BLOCK]
        gap = np.maximum(squares[start : start + BLOCK, None] + squares - 2 * (part.astype(np.float64) @ vectors.astype(np.float64).T), 0)
        gap[np.arange(len(part)), np.arange(start, start + len(part))] = 0  # a row and itself: exp gives 1, taken off below
        kernel += float(np.exp(-2 * gap).sum())
        distance += float(np.sqrt(gap).sum())
    ordered = count * (count - 1)
    return float(np.log(max((kernel - count) / ordered, 1e-300))), distance / ordered


def project_to_plane(clean: Vectors, protected: Vectors) -> tuple[Points, Points, float]:
    """Both projected to the two principal axes of the clean features, and the fraction of the clean variance on these axes."""
    before, after = normalise(clean), normalise(protected)
    fitted = PCA(n_components=2, svd_solver="randomized", random_state=0).fit(before)
    share = float(fitted.explained_variance_ratio_.sum())
    return fitted.transform(before).astype(np.float32), fitted.transform(after).astype(np.float32), share
