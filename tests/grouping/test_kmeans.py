"""k-means finds what is there, uses every vector it is given, and does not depend on how the work is split."""

from functools import reduce
from operator import add

import numpy as np
import pytest

from ray_ue.grouping.kmeans import ByLabel, Groups, KMeans, OrderedSum, Tally, assign, report
from ray_ue.grouping.sampling import between, draw_sample


def blobs(*, k: int = 4, each: int = 400, width: int = 32, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    middles = rng.normal(0, 4, (k, width))
    truth = np.repeat(np.arange(k), each)
    return (middles[truth] + rng.normal(0, 1, (len(truth), width)) + offset).astype(np.float32), truth


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_well_separated_blobs_are_found_also_far_from_the_origin(offset: float) -> None:
    vectors, truth = blobs(offset=offset)
    slots, _ = assign(vectors, KMeans(k=4).fit(vectors))
    for label in range(4):
        assert len(set(slots[truth == label].tolist())) == 1
    assert len(set(slots.tolist())) == 4


def test_the_fit_uses_all_vectors_not_256_per_centroid() -> None:
    # 5,000 points near zero and 3 far away: a subsample of 2 x 256 would miss the three almost always.
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(0, 0.1, (5000, 8)), rng.normal(100, 0.1, (3, 8))]).astype(np.float32)
    slots, _ = assign(vectors, KMeans(k=2).fit(vectors))
    assert sorted(np.bincount(slots).tolist()) == [3, 5000]


def test_the_same_seed_gives_the_same_centres() -> None:
    vectors, _ = blobs()
    assert (KMeans(k=6, seed=1).fit(vectors) == KMeans(k=6, seed=1).fit(vectors)).all()


def test_assignment_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import pairwise_distances_argmin_min

    vectors, _ = blobs()
    centers = KMeans(k=5).fit(vectors)
    slots, squares = assign(vectors, centers)
    expected, distances = pairwise_distances_argmin_min(vectors, centers)
    assert (slots == expected).all()
    assert squares == pytest.approx(distances**2, rel=1e-3)


def test_tallies_of_parts_add_up_to_the_whole_in_any_split() -> None:
    vectors, _ = blobs()
    centers = KMeans(k=4).fit(vectors)
    slots, squares = assign(vectors, centers)
    whole = Tally.of(vectors, slots, squares, k=4)
    parts = [Tally.of(vectors[i : i + 100], slots[i : i + 100], squares[i : i + 100], k=4) for i in range(0, len(vectors), 100)]
    summed = parts[0]
    for part in parts[1:]:
        summed += part
    assert (summed.counts == whole.counts).all()
    np.testing.assert_allclose(summed.centers(centers), whole.centers(centers), rtol=1e-6)
    np.testing.assert_allclose(whole.centers(centers), [vectors[slots == s].mean(0) for s in range(4)], rtol=1e-5)


@pytest.mark.parametrize(("k", "phrase"), [(1, "2 or more"), (11, "at least 11 images, there are 10")])
def test_impossible_numbers_of_clusters_are_refused(k: int, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        KMeans(k=k).check(10)


def test_vectors_that_are_no_numbers_are_refused() -> None:
    vectors, _ = blobs()
    vectors[3, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        KMeans(k=2).fit(vectors)


def test_groups_refuse_a_slot_without_a_centre() -> None:
    with pytest.raises(ValueError, match="slot 2 has no center"):
        Groups(slot_of=np.array([0, 2, -1], np.int32), centers=np.zeros((2, 3), np.float32))


def test_sizes_leave_out_rows_that_were_set_aside() -> None:
    groups = Groups(slot_of=np.array([0, 1, -1, 1], np.int32), centers=np.zeros((3, 2), np.float32))
    assert groups.sizes().tolist() == [1, 2, 0]
    assert report(groups.sizes(), 6.0) == {"sizes": [1, 2, 0], "imbalance": 2.0, "empty": 1, "inertia_per_row": 2.0}


def test_a_sample_is_sorted_and_without_doubles() -> None:
    ids = draw_sample(1000, size=100, seed=1)
    assert len(set(ids.tolist())) == 100
    assert (np.diff(ids) > 0).all()
    assert draw_sample(10, size=100, seed=1).tolist() == list(range(10))


def test_labels_become_dense_slots_and_unused_rows_none() -> None:
    slot_of, slots = ByLabel().slots(np.array([7, 3, 7, -1]), np.array([True, True, True, False]))
    assert (slot_of.tolist(), slots) == ([1, 0, 1, -1], 2)


@pytest.mark.parametrize(("labels", "phrase"), [([1, -1], "1 of 2 images have no label"), ([4, 4], "the same label")])
def test_labels_that_cannot_group_are_refused(labels: list[int], phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        ByLabel().slots(np.array(labels), np.ones(2, bool))


def test_tallies_are_added_in_the_order_of_their_numbers_and_not_kept() -> None:
    rng = np.random.default_rng(0)
    tallies = [
        Tally.of(rng.normal(0, 10.0 ** rng.integers(-6, 6), (5, 3)).astype(np.float32), np.arange(5, dtype=np.int32) % 2, np.ones(5), k=2)
        for _ in range(30)
    ]
    expected = reduce(add, tallies)
    for order in (range(30), rng.permutation(30).tolist()):
        total = OrderedSum()
        for number in order:
            total.add(number, tallies[number])
        assert (total.whole(30).sums == expected.sums).all()
        assert not total._waiting
    total = OrderedSum()
    total.add(1, tallies[1])
    with pytest.raises(ValueError, match="tally 0 of 30 is missing"):
        total.whole(30)
    for number in range(2, 30):
        total.add(number, tallies[number])
    assert len(total._waiting) == 29
    total.add(0, tallies[0])
    assert not total._waiting
    with pytest.raises(ValueError, match="tally 30 of 31 is missing"):
        total.whole(31)


def test_ids_between_two_numbers_are_those_that_a_scan_finds() -> None:
    ids = draw_sample(1000, size=200, seed=0)
    for begin, end in ((0, 1000), (10, 10), (137, 420), (999, 2000), (2000, 3000)):
        assert (between(ids, begin, end) == ids[(ids >= begin) & (ids < end)]).all()
