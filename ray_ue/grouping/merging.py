"""Small clusters join their neighbours: Ward's method, from the clusters that k-means found.

A pattern that few images carry is learnt late, and what is not learnt does not protect; a cluster that lies beside another of the same
kind can share its pattern.
"""

import numpy as np
from jaxtyping import Int32, Int64

from ray_ue.types import Centers


def merge(centers: Centers, sizes: Int64[np.ndarray, " S"], *, groups: int) -> Int32[np.ndarray, " S"]:
    """The group, from 0 to `groups` - 1, of each cluster with this centre and so many rows; groups are numbered by their first cluster.

    Ward's method: the two whose union adds least to the squared distances of rows from their centres become one, until `groups` are left
    (J. H. Ward, Hierarchical Grouping to Optimize an Objective Function, 1963). Empty clusters count as one row. Libraries start from
    single rows; here clusters of many have to keep their weight.
    """
    if not 1 <= groups <= len(centers):
        raise ValueError(f"{len(centers)} clusters can be merged to 1 to {len(centers)} groups, got {groups}")
    means, weights = centers.astype(np.float64), np.maximum(sizes, 1).astype(np.float64)
    first_of = np.arange(len(centers))  # the first cluster of the group that each lies in
    costs = np.stack([_costs(means, weights, one) for one in range(len(centers))])
    for _ in range(len(centers) - groups):
        kept, gone = sorted(int(place) for place in np.unravel_index(costs.argmin(), costs.shape))
        means[kept] = np.average(means[[kept, gone]], axis=0, weights=weights[[kept, gone]])
        weights[kept] += weights[gone]
        weights[gone] = np.inf  # never again
        first_of[first_of == gone] = kept
        costs[kept] = costs[:, kept] = _costs(means, weights, kept)
        costs[gone] = costs[:, gone] = np.inf
    return np.unique(first_of, return_inverse=True)[1].astype(np.int32)


def _costs(means: np.ndarray, weights: np.ndarray, one: int) -> np.ndarray:
    """What a union of `one` with each cluster adds to the sum of squares; infinite with itself and with those that are gone."""
    squares = ((means - means[one]) ** 2).sum(1)
    there = np.isfinite(weights) & (np.arange(len(means)) != one)
    shared = weights[there] * weights[one] / (weights[there] + weights[one])
    costs = np.full(len(means), np.inf)
    costs[there] = shared * squares[there]
    return costs
