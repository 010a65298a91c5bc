"""Merging takes the unions that cost least, as Ward's method over single rows does, and clusters keep their weight."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from ray_ue.grouping.kmeans import Groups, Merged, Tally, assign
from ray_ue.grouping.merging import merge


def partition(slots: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(slots == slot).tolist()) for slot in np.unique(slots)}


@pytest.mark.parametrize("groups", [1, 2, 5, 9, 24])
def test_single_rows_are_merged_as_scipy_merges_them(groups: int) -> None:
    rows = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
    merged = merge(rows, np.ones(24, np.int64), groups=groups)
    assert partition(merged) == partition(fcluster(linkage(rows.astype(np.float64), "ward"), groups, "maxclust"))
    assert merged.tolist() == np.unique(merged, return_inverse=True)[1].tolist()
    assert merged[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_cluster_weighs_as_much_as_its_rows(seed: int) -> None:
    """Rows that are equal are merged first, so that groups of equal rows stand for clusters of their sizes."""
    rng = np.random.default_rng(seed)
    centers, sizes = rng.normal(size=(8, 4)).astype(np.float32), rng.integers(1, 30, 8)
    rows = np.repeat(centers.astype(np.float64), sizes, axis=0)
    of_rows = fcluster(linkage(rows, "ward"), 3, "maxclust")
    first = np.cumsum(sizes) - sizes
    assert partition(merge(centers, sizes, groups=3)) == partition(of_rows[first])


def test_small_clusters_join_first_and_empty_ones_join_their_neighbour() -> None:
    centers = np.array([[0, 0], [1, 0], [10, 0], [11.5, 0], [10.1, 0]], np.float32)
    assert merge(centers, np.array([500, 500, 5, 5, 0]), groups=3).tolist() == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("groups", [0, 4])
def test_impossible_numbers_of_groups_are_refused(groups: int) -> None:
    with pytest.raises(ValueError, match=f"3 clusters can be merged to 1 to 3 groups, got {groups}"):
        merge(np.zeros((3, 2), np.float32), np.ones(3, np.int64), groups=groups)


def test_merged_tallies_are_those_of_the_groups() -> None:
    rng = np.random.default_rng(0)
    vectors, centers = rng.normal(size=(200, 5)).astype(np.float32), rng.normal(size=(6, 5)).astype(np.float32)
    slots, of_cluster = assign(vectors, centers)[0], np.array([0, 1, 0, 2, 1, 2], np.int32)
    merged = Tally.of(vectors, slots, np.ones(200), k=6).merged(of_cluster)
    whole = Tally.of(vectors, of_cluster[slots], np.ones(200), k=3)
    assert merged.counts.tolist() == whole.counts.tolist()
    np.testing.assert_allclose(merged.sums, whole.sums)
    assert merged.inertia == whole.inertia


def test_a_new_vector_takes_the_group_of_its_nearest_cluster_not_of_the_nearest_mean() -> None:
    """The mean of two clusters that lie apart may be nearer to a stranger than to its own rows."""
    merged = Merged(centers=np.array([[0.0, 0], [10, 0], [4, 3]], np.float32), slots=np.array([0, 0, 1], np.int32))
    groups = Groups(slot_of=np.zeros(1, np.int32), centers=np.array([[5.0, 0], [4, 3]], np.float32), merged=merged)
    vectors = np.array([[1.0, 1], [9, 1], [5, 1]], np.float32)
    slots, squares = groups.assign(vectors)
    assert slots.tolist() == [0, 0, 1]
    assert squares == pytest.approx([2, 2, 5])
    plain = Groups(slot_of=groups.slot_of, centers=groups.centers)
    assert plain.assign(vectors)[0].tolist() == [1, 0, 0]
