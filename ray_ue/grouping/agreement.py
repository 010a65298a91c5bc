"""How far can a clustering be trusted, and how many clusters does a collection bear? Runs that have seen nothing in common are compared.

No labels are needed: a clustering that follows something real is found twice, one that cuts through a cloud at random is not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from ray_ue.grouping.kmeans import KMeans, assign
from ray_ue.types import Centers, Rng, Vectors

CANDIDATES = (10, 20, 50, 100, 200, 500, 1000)  # of which `--clusters auto` takes one
EACH = 20  # rows that a cluster of a half should have at least
NEAR = 0.95  # of the best agreement: what more clusters may cost
COMPARED = 20_000  # rows at most
PAIRS, RESTARTS, ITERATIONS = 2, 2, 20  # pairs of runs that are compared; of k-means within each run

Slots = Int[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What two independent runs of k-means with this many clusters have in common.

    `ami` is the adjusted mutual information of their groups. `purity` is the expected purity: the share of rows that lie in the group
    which most rows of their group in the other run lie in. Both are at most 1.
    """

    clusters: int
    ami: float
    purity: float


def purity(groups: Slots, labels: Slots) -> float:
    """The share of rows whose label is the most frequent one of their group."""
    return float(contingency_matrix(groups, labels).max(1).sum() / len(groups))


def some_rows(vectors: Vectors, *, rng: Rng) -> Vectors:
    """At most `COMPARED` random rows, in order."""
    return vectors[np.sort(rng.permutation(len(vectors))[:COMPARED])]


def agreement(vectors: Vectors, *, clusters: int, rng: Rng) -> Agreement:
    """Compare runs that are fitted on halves of the `vectors` `n D` and assign all of them; the mean over pairs of halves.

    A `ValueError` if a half has fewer rows than clusters.
    """
    amis, purities = [], []
    for _ in range(PAIRS):
        halves = np.array_split(rng.permutation(len(vectors)), 2)
        fits = [_fit(vectors[np.sort(half)], clusters=clusters, rng=rng) for half in halves]
        one, two = (assign(vectors, centers)[0] for centers in fits)
        amis.append(float(adjusted_mutual_info_score(one, two)))
        purities += [purity(one, two), purity(two, one)]
    return Agreement(clusters=clusters, ami=float(np.mean(amis)), purity=float(np.mean(purities)))


def _fit(vectors: Vectors, *, clusters: int, rng: Rng) -> Centers:
    return KMeans(k=clusters, restarts=RESTARTS, iterations=ITERATIONS, seed=int(rng.integers(2**31))).fit(vectors)


def choose_clusters(vectors: Vectors, *, rng: Rng) -> tuple[int, list[Agreement]]:
    """The number of clusters for the `vectors` `n D`, and what was compared.

    Purity protects, and grows with the number of clusters; patterns that many clusters divide are learnt more slowly, and clusters that no
    second run finds are none. So: the most of `CANDIDATES` whose agreement is at least `NEAR` of the best one's with no more clusters.
    Few rows give few candidates; with too few for the first, a cluster for `EACH` rows, from 2 to `CANDIDATES[0]` of them.
    """
    rows = some_rows(vectors, rng=rng)
    fitting = [count for count in CANDIDATES if 2 * EACH * count <= len(rows)]
    if not fitting:
        return min(CANDIDATES[0], max(2, len(rows) // EACH)), []
    compared: list[Agreement] = []
    for count in fitting:
        compared.append(agreement(rows, clusters=count, rng=rng))
        if compared[-1].ami < NEAR * max(one.ami for one in compared):
            return compared[-2].clusters, compared
    return compared[-1].clusters, compared
