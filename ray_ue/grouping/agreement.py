"""How far can a clustering be trusted, and how many clusters does a collection bear? Runs that have seen nothing in common are compared.

No labels are needed: a clustering that follows something real is found twice, one that cuts through a cloud at random is not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from ray_ue.grouping.kmeans import KMeans, assign
from ray_ue.grouping.merging import merge
from ray_ue.types import Centers, Rng, Vectors

CANDIDATES = (10, 20, 50, 100, 200, 500, 1000)  # of which `--clusters auto` takes one
EACH = 20  # rows that a cluster of a half should have at least
NEAR = 0.95  # of the best agreement: what more clusters may cost
FEWEST_GROUPS = 0.7  # of the clusters: with half of them, images of CIFAR-10 that differ share a pattern (docs/experiments/0037)
STEPS = 12  # numbers of groups that are compared at most
COMPARED = 20_000  # rows at most
PAIRS, RESTARTS, ITERATIONS = 2, 2, 20  # pairs of runs that are compared; of k-means within each run

Slots = Int[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What two independent runs have in common that end with this many clusters.

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


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`clusters` of k-means, which are merged to so many `groups`; the agreement for each number of `clusters` and of groups compared."""

    clusters: int
    groups: int
    compared: tuple[Agreement, ...] = ()
    merged: tuple[Agreement, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Half:
    """A run of k-means that was fitted on a half of the vectors; `slots` are its clusters of all of them."""

    centers: Centers
    slots: Slots

    def groups(self, count: int) -> Slots:
        """The slots after a merge to `count` groups."""
        return merge(self.centers, np.bincount(self.slots, minlength=len(self.centers)), groups=count)[self.slots]


Pairs = list[tuple[Half, Half]]


def agreement(vectors: Vectors, *, clusters: int, rng: Rng) -> Agreement:
    """Compare runs that are fitted on halves of the `vectors` `n D` and assign all of them; the mean over pairs of halves.

    A `ValueError` if a half has fewer rows than clusters.
    """
    return _compare(_pairs(vectors, clusters=clusters, restarts=RESTARTS, rng=rng), groups=clusters)


def _pairs(vectors: Vectors, *, clusters: int, restarts: int, rng: Rng) -> Pairs:
    pairs = []
    for _ in range(PAIRS):
        halves = np.array_split(rng.permutation(len(vectors)), 2)
        runs = [KMeans(k=clusters, restarts=restarts, iterations=ITERATIONS, seed=int(rng.integers(2**31))) for _ in halves]
        fits = [run.fit(vectors[np.sort(half)]) for run, half in zip(runs, halves, strict=True)]
        one, two = (Half(centers=centers, slots=assign(vectors, centers)[0]) for centers in fits)
        pairs.append((one, two))
    return pairs


def _compare(pairs: Pairs, *, groups: int) -> Agreement:
    """What the two runs of a pair have in common with so many groups; the mean over the pairs."""
    amis, purities = [], []
    for pair in pairs:
        one, two = (half.groups(groups) for half in pair)
        amis.append(float(adjusted_mutual_info_score(one, two)))
        purities += [purity(one, two), purity(two, one)]
    return Agreement(clusters=groups, ami=float(np.mean(amis)), purity=float(np.mean(purities)))


def choose_clusters(vectors: Vectors, *, rng: Rng) -> Choice:
    """The number of clusters for the `vectors` `n D`, the number of groups that they are merged to, and what was compared.

    Purity protects, and grows with the number of clusters; patterns that many clusters divide are learnt more slowly, and clusters that no
    second run finds are none. So: the most of `CANDIDATES` whose agreement is at least `NEAR` of the best one's with no more clusters.
    These are merged to the number of groups, down to `FEWEST_GROUPS` of them, on which runs of five restarts agree best. Few rows give few
    candidates; with too few for the first, a cluster for `EACH` rows, from 2 to `CANDIDATES[0]` of them.
    """
    rows = some_rows(vectors, rng=rng)
    fitting = [count for count in CANDIDATES if 2 * EACH * count <= len(rows)]
    if not fitting:
        few = min(CANDIDATES[0], max(2, len(rows) // EACH))
        return Choice(clusters=few, groups=few)
    compared: list[Agreement] = []
    chosen = fitting[0]
    for count in fitting:
        compared.append(agreement(rows, clusters=count, rng=rng))
        if compared[-1].ami < NEAR * max(one.ami for one in compared):
            break
        chosen = count
    pairs = _pairs(rows, clusters=chosen, restarts=KMeans.restarts, rng=rng)
    merged = tuple(_compare(pairs, groups=count) for count in _numbers_of_groups(chosen))
    groups = max(merged, key=lambda one: (one.ami, one.clusters)).clusters
    return Choice(clusters=chosen, groups=groups, compared=tuple(compared), merged=merged)


def _numbers_of_groups(clusters: int) -> list[int]:
    fewest = max(2, round(FEWEST_GROUPS * clusters))
    return sorted({round(number) for number in np.linspace(fewest, clusters, STEPS)})
