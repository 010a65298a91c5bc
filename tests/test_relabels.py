"""Relabels refuse, in one line, what cannot work; agreement counts what it says."""

import json
from pathlib import Path

import numpy as np
import pytest

from ray_ue.labels import Known, Relabelled, agreement
from ray_ue.relabels import parse, relabel

NAMES = ("cat", "dog", "owl", "car")


def nothing() -> tuple[np.ndarray, np.ndarray]:
    raise AssertionError("features are not needed")


def no_encoder() -> np.ndarray:
    raise ValueError("this surrogate has no text encoder")


def vectors(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)


def known(*, train: list[int] | None = None, test: list[int] | None = None, names: tuple[str, ...] = NAMES, feats: bool = False) -> Known:
    first, second = np.array([0, 1, 2, 3] * 3 if train is None else train, int), np.array([0, 1, 2, 3] * 2 if test is None else test, int)
    return Known(
        train=first,
        test=second,
        names=names,
        features=(lambda: (vectors(len(first)), vectors(len(second)))) if feats else nothing,
        texts=no_encoder,
    )


@pytest.mark.parametrize(
    ("spec", "phrase"),
    [
        ("supr:5", r"no relabel is called 'supr'; did you mean 'super'\? there are finer, identity, pseudo, random, super, text"),
        ("", "no relabel is called ''"),
        ("identity:3", "identity takes no value, got '3'; write identity"),
        ("super:abc", "super: the number of classes is a number such as 5, got 'abc'"),
        ("super:", "super: the number of classes is a number such as 5, got ''"),
        ("super:2.5", "super: the number of classes is a whole number from 2 to 1000000, got 2.5"),
        ("pseudo:1", "pseudo: the number of classes is a whole number from 2"),
        ("finer:nan", "finer: the number of classes is a number such as 5, got 'nan'"),
        ("random:-3", "random: the number of classes is a whole number from 2"),
        ("super:absent.json", "there is no file absent.json; super takes a number or a JSON file"),
    ],
)
def test_bad_specs_are_refused_without_data(spec: str, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        parse(spec)


def test_a_bare_name_has_a_default_value() -> None:
    assert [parse(name) for name in ("identity", "super", "text")] == [("identity", ""), ("super", "5"), ("text", "20")]


@pytest.mark.parametrize("spec", ["identity", "super:2", "text:2", "finer:8"])
def test_without_labels_it_says_which_relabels_remain(spec: str) -> None:
    with pytest.raises(ValueError, match=r"12 of 12 training images have no label, which \w+ needs; without labels use pseudo, random$"):
        relabel(spec, known(train=[-1] * 12, test=[-1] * 8), seed=0)


def test_some_missing_labels_are_counted() -> None:
    with pytest.raises(ValueError, match="1 of 3 test images have no label"):
        relabel("identity", known(test=[0, -1, 1]), seed=0)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ValueError, match="no test images"):
        relabel("random:2", known(test=[]), seed=0)


@pytest.mark.parametrize(
    ("train", "test", "phrase"),
    [
        ([2, 2], [2], r"all training images are of one class \(owl\); two or more"),
        ([0, 1], [1, 1], r"all test images are of one class \(dog\); two or more"),
        ([0, 1, 2], [0, 1], "class owl has no test images"),
        ([0, 1], [0, 1, 3], "class car has no training images"),
        ([0, 1, 2, 3], [0, 1], "classes owl, car have no test images"),
    ],
)
def test_classes_that_a_split_lacks_are_named(train: list[int], test: list[int], phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        relabel("identity", known(train=train, test=test), seed=0)


def test_no_more_than_five_missing_classes_are_named() -> None:
    with pytest.raises(ValueError, match="classes class 2, class 3, class 4, class 5, class 6 and 3 more have no test images"):
        relabel("identity", known(train=list(range(10)), test=[0, 1], names=()), seed=0)


def test_a_class_that_no_split_holds_is_not_there() -> None:
    found = relabel("identity", known(train=[0, 3], test=[3, 0]), seed=0)
    assert (found.names, found.train.tolist(), found.test.tolist()) == (("cat", "car"), [0, 1], [1, 0])


@pytest.mark.parametrize(
    ("spec", "phrase"),
    [
        ("super:4", "super:4 is not fewer than the 4 classes there are; ask for 2 to 3, or for identity"),
        ("text:9", "text:9 is not fewer than the 4 classes"),
        ("finer:4", "finer:4 is not more than the 4 classes there are; ask for 5 or more, or for super"),
        ("text:2", "this surrogate has no text encoder"),
        ("random:9", "random:9 needs at least 9 test images, there are 8"),
    ],
)
def test_numbers_that_the_classes_do_not_allow(spec: str, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        relabel(spec, known(), seed=0)


def test_two_classes_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="super needs 3 or more classes to merge, there are 2; use identity"):
        relabel("super:2", known(train=[0, 1], test=[0, 1]), seed=0)


def test_a_class_too_small_to_split_is_named() -> None:
    with pytest.raises(ValueError, match="finer:20 would split the 3 training images of cat into 5; ask for fewer classes"):
        relabel("finer:20", known(feats=True), seed=0)


def test_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="13 clusters need at least 13 images"):
        relabel("pseudo:13", known(feats=True), seed=0)


def test_a_label_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="label 4 has no name: there are only 4 class names"):
        known(train=[0, 4])


def write(folder: Path, content: object) -> str:
    path = folder / "map.json"
    path.write_text(json.dumps(content))
    return f"super:{path}"


def test_a_map_takes_names_and_numbers(tmp_path: Path) -> None:
    data = known()
    found = relabel(write(tmp_path, {"cat": "animal", "1": "animal", "owl": "animal", "3": "machine"}), data, seed=0)
    assert found.names == ("animal", "machine")
    assert (found.train == (data.train == 3)).all()
    assert (found.test == (data.test == 3)).all()


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        ({"cat": "animal", "dog": "animal"}, "has no superclass for owl, car; every class needs one, by its name or its number"),
        (["cat"], 'must map each class to the name of its superclass, such as {"cat": "animal"}'),
        (dict.fromkeys(NAMES, "thing"), r"all training images are of one class \(thing\)"),
    ],
)
def test_maps_that_do_not_fit_are_refused(tmp_path: Path, content: object, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        relabel(write(tmp_path, content), known(), seed=0)


def test_a_map_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text("{cat: animal")
    with pytest.raises(ValueError, match="is not JSON"):
        parse(f"super:{tmp_path / 'map.json'}")


def test_chance_is_the_most_frequent_test_class() -> None:
    labels = Relabelled(train=np.array([0, 0, 1]), test=np.array([1, 1, 1, 0]), names=("a", "b"))
    assert (labels.classes, labels.chance) == (2, 0.75)


def test_agreement_of_a_labelling_with_itself_is_whole_and_rows_without_a_slot_do_not_count() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    assert agreement(labels, labels) == pytest.approx((1, 1))
    assert agreement(np.array([5, 3, 4, 5, 3, -1]), labels) == pytest.approx((1, 1))
    assert agreement(np.array([0, 0, 0, 0, 0, 0]), labels) == pytest.approx((0, 1 / 3))
    assert np.isnan(agreement(np.full(6, -1), labels)).all()
