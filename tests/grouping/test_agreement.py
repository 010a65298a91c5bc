"""Clusters that are there are found twice; `auto` takes the most of them, and merges those that no second run finds."""

import numpy as np
import pytest

from ray_ue.grouping.agreement import CANDIDATES, EACH, Choice, agreement, choose_clusters, purity


def blobs(*, groups: int, rows: int, apart: float, width: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    middles = apart * rng.normal(0, 1, (groups, width))
    truth = rng.integers(0, groups, rows)
    return (middles[truth] + rng.normal(0, 1, (rows, width))).astype(np.float32), truth


def test_purity_is_the_share_of_the_most_frequent_label() -> None:
    assert purity(np.array([0, 0, 0, 1, 1]), np.array([2, 2, 0, 1, 1])) == 0.8
    assert purity(np.zeros(4, int), np.arange(4)) == 0.25


def test_two_runs_agree_on_what_is_there_and_not_on_a_cloud() -> None:
    rng = np.random.default_rng(1)
    real = agreement(blobs(groups=10, rows=500, apart=4)[0], clusters=10, rng=rng)
    cloud = agreement(blobs(groups=1, rows=500, apart=0)[0], clusters=10, rng=rng)
    assert real.ami > 0.9
    assert cloud.ami < 0.5
    assert real.purity > 0.9 > 0.7 > cloud.purity


@pytest.mark.parametrize("groups", [10, 20, 50])
def test_auto_takes_as_many_clusters_as_there_are_groups(groups: int) -> None:
    choice = choose_clusters(blobs(groups=groups, rows=2 * EACH * 100, apart=4)[0], rng=np.random.default_rng(0))
    assert choice.clusters == groups
    assert 0.85 * groups <= choice.groups <= groups  # k-means cuts some clouds in two and takes two others for one
    assert [one.clusters for one in choice.compared] == [count for count in CANDIDATES if count <= groups] + [
        next(count for count in CANDIDATES if count > groups)
    ]


def test_clusters_that_cut_a_group_in_two_are_merged() -> None:
    """Of 20 clusters five are halves of clouds that k-means cut anywhere."""
    vectors, _ = blobs(groups=15, rows=2 * EACH * 50, apart=4)
    choice = choose_clusters(vectors, rng=np.random.default_rng(0))
    assert (choice.clusters, choice.groups) == (20, 15)
    assert [one.clusters for one in choice.merged] == list(range(14, 21))
    by_number = {one.clusters: one for one in choice.merged}
    assert by_number[15].ami > 0.98
    assert by_number[15].ami > by_number[20].ami + 0.02


def test_equal_seeds_choose_alike_and_rows_need_no_order() -> None:
    vectors, _ = blobs(groups=20, rows=800, apart=3)
    first, second = (choose_clusters(vectors, rng=np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert choose_clusters(np.sort(vectors, axis=0), rng=np.random.default_rng(3)).clusters in CANDIDATES


@pytest.mark.parametrize(("rows", "chosen"), [(2, 2), (30, 2), (100, 5), (399, 10)])
def test_few_rows_give_few_clusters(rows: int, chosen: int) -> None:
    vectors = np.random.default_rng(0).normal(0, 1, (rows, 8)).astype(np.float32)
    assert choose_clusters(vectors, rng=np.random.default_rng(0)) == Choice(clusters=chosen, groups=chosen)


def test_equal_rows_do_not_stop_the_choice() -> None:
    assert choose_clusters(np.ones((500, 8), np.float32), rng=np.random.default_rng(0)).clusters == 10
