"""What every relabel must do."""

import numpy as np
import pytest

from ray_ue.exploiter.labels import Known, Relabelled, agreement
from ray_ue.exploiter.relabels import RELABELS, parse, relabel

NAMES = ("cat", "dog", "owl", "car", "bus", "van")
SPECS = ["identity", "super:2", "super:4", "text:3", "pseudo:5", "finer:9", "finer:13", "random:4"]
FREE = [spec for spec in SPECS if "labels" not in RELABELS[parse(spec)[0]].needs]
MERGES = ["super:2", "super:4", "text:3"]
MIDDLES = np.random.default_rng(5).normal(0, 3, (6, 8))


def known(*, seed: int = 0, labelled: bool = True) -> Known:
    """180 and 120 rows of six classes, with features that lie around one middle per class."""
    rng = np.random.default_rng(seed)
    train, test = rng.permutation(np.arange(180) % 6), rng.permutation(np.arange(120) % 6)
    vectors = [(MIDDLES[labels] + rng.normal(0, 1, (len(labels), 8))).astype(np.float32) for labels in (train, test)]
    kinds = np.array([0, 0, 0, 9, 9, 5])[:, None] + rng.normal(0, 0.1, (6, 4))
    return Known(
        train=train if labelled else np.full(180, -1),
        test=test if labelled else np.full(120, -1),
        names=NAMES if labelled else (),
        features=lambda: (vectors[0], vectors[1]),
        texts=lambda: kinds.astype(np.float32),
    )


def same(first: Relabelled, second: Relabelled) -> bool:
    return np.array_equal(first.train, second.train) and np.array_equal(first.test, second.test) and first.names == second.names


def test_every_relabel_is_under_test() -> None:
    assert {parse(spec)[0] for spec in SPECS} == set(RELABELS)


@pytest.mark.parametrize("spec", SPECS)
def test_both_splits_use_every_class(spec: str) -> None:
    data = known()
    found = relabel(spec, data, seed=1)
    assert (found.train.shape, found.test.shape) == (data.train.shape, data.test.shape)
    assert found.train.dtype == found.test.dtype == np.int64
    assert set(found.train.tolist()) == set(found.test.tolist()) == set(range(found.classes))
    assert len(set(found.names)) == found.classes
    value = parse(spec)[1]
    assert found.classes == (int(value) if value else 6)
    assert found.chance == pytest.approx(np.unique(found.test, return_counts=True)[1].max() / 120)


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_seed_gives_the_same_labels_and_nothing_is_changed(spec: str) -> None:
    data = known()
    train, test = data.train.copy(), data.test.copy()
    assert same(relabel(spec, data, seed=1), relabel(spec, data, seed=1))
    assert np.array_equal(data.train, train)
    assert np.array_equal(data.test, test)


@pytest.mark.parametrize("spec", ["super:2", "super:4", "random:4"])
def test_different_seeds_give_different_labels(spec: str) -> None:
    assert len({relabel(spec, known(), seed=seed).train.tobytes() for seed in range(5)}) > 1


@pytest.mark.parametrize("spec", MERGES)
def test_a_merge_is_one_function_of_the_true_class_in_both_splits(spec: str) -> None:
    data = known()
    found = relabel(spec, data, seed=2)
    pairs = set(zip(data.train.tolist(), found.train.tolist())) | set(zip(data.test.tolist(), found.test.tolist()))
    assert len(pairs) == 6


@pytest.mark.parametrize("spec", ["finer:9", "finer:13"])
def test_finer_classes_lie_within_one_true_class_in_both_splits(spec: str) -> None:
    data = known()
    found = relabel(spec, data, seed=2)
    pairs = set(zip(found.train.tolist(), data.train.tolist())) | set(zip(found.test.tolist(), data.test.tolist()))
    assert len(pairs) == found.classes
    counts = np.bincount([label for _, label in pairs])
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("spec", FREE)
def test_what_needs_no_labels_does_not_look_at_them(spec: str) -> None:
    assert same(relabel(spec, known(), seed=3), relabel(spec, known(labelled=False), seed=3))


@pytest.mark.parametrize("spec", SPECS)
def test_costly_things_are_asked_for_only_when_they_are_stated(spec: str) -> None:
    asked = set()
    data = known()

    def features() -> tuple[np.ndarray, np.ndarray]:
        asked.add("features")
        return data.features()

    def texts() -> np.ndarray:
        asked.add("texts")
        return data.texts()

    relabel(spec, Known(train=data.train, test=data.test, names=NAMES, features=features, texts=texts), seed=0)
    assert asked == RELABELS[parse(spec)[0]].needs - {"labels"}


def test_random_labels_know_nothing_of_the_true_ones() -> None:
    data = known()
    amis = [agreement(data.train, relabel("random:4", data, seed=seed).train)[0] for seed in range(20)]
    assert abs(np.mean(amis)) < 0.01


def test_superclasses_are_of_even_size() -> None:
    data = known()
    found = relabel("super:4", data, seed=0)
    sizes = sorted(len(set(data.train[found.train == slot].tolist())) for slot in range(4))
    assert sizes == [1, 1, 2, 2]


def test_classes_with_like_names_are_merged_by_their_texts() -> None:
    data = known()
    assert set(relabel("text:3", data, seed=0).names) == {"cat + dog + 1 more", "car + bus", "van"}


def test_pseudo_labels_find_the_clusters_of_the_features() -> None:
    data = known()
    found = relabel("pseudo:6", data, seed=0)
    assert agreement(data.train, found.train)[0] > 0.9
    assert agreement(data.test, found.test)[0] > 0.9
