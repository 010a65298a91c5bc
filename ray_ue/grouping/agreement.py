"""How far can a clustering be trusted? Two runs that have seen nothing in common are compared; no labels are needed."""

import numpy as np
from jaxtyping import Int

from ray_ue.grouping.kmeans import KMeans, assign
from ray_ue.types import Rng, Vectors

CANDIDATES = (5, 10, 20, 50, 100, 200)  # of which `--clusters auto` takes one
RESTARTS = 2  # of each of the two runs; they are compared with each other, not used

Slots = Int[np.ndarray, " n"]


def purity(groups: Slots, labels: Slots) -> float:
    """The share of rows whose label is the most frequent one of their group; both are numbered from 0."""
    counts = np.zeros((int(groups.max()) + 1, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (groups, labels), 1)
    return float(counts.max(1).sum() / len(groups))


def expected_purity(vectors: Vectors, *, clusters: int, rng: Rng) -> float:
    """How well the groups of one k-means run predict those of another, fitted on the other half of the `vectors` `n D`: the mean of
    both purities over all rows, from 0 to 1. A clustering that follows something real is found twice; one that cuts through a cloud at
    random is not. A `ValueError` if a half has fewer rows than clusters.
    """
    halves = np.array_split(rng.permutation(len(vectors)), 2)
    fits = [KMeans(k=clusters, restarts=RESTARTS, seed=int(rng.integers(2**31))).fit(vectors[np.sort(half)]) for half in halves]
    one, two = (assign(vectors, centers)[0] for centers in fits)
    return (purity(one, two) + purity(two, one)) / 2
