"""Relabels: the labels that an exploiter trains with, made for both splits at once. Knows labels and vectors, not images or nets."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int

from ray_ue.groups import KMeans, assign
from ray_ue.labels import SPLITS, Known, Relabelled
from ray_ue.types import Rng, pick
from ray_ue.values import Whole, named

TEXT_SEED = 35  # 14A's seed for the superclasses of class names

Need = Literal["labels", "features", "texts"]


@dataclass(frozen=True, kw_only=True)
class Relabel:
    """A way to label. `make` takes the checked value as text; `read` raises `ValueError` for a bad one without any data."""

    make: Callable[[Known, str, Rng], Relabelled]
    needs: frozenset[Need]
    read: Callable[[str], object]
    value: str  # the default
    about: str


def parse(spec: str) -> tuple[str, str]:
    """`name[:value]` as (name, value), with the default value where none is given; refuses what no data could make right."""
    name, colon, value = spec.strip().partition(":")
    entry = pick(RELABELS, name, what="relabel")
    if not colon:
        return name, entry.value
    if not entry.value:
        raise ValueError(f"{name} takes no value, got {value!r}; write {name}")
    entry.read(value)
    return name, value


def relabel(spec: str, known: Known, *, seed: int) -> Relabelled:
    """The labels that `spec`, such as `identity` or `super:5`, gives to both splits; the same seed gives the same labels."""
    name, value = parse(spec)
    entry = RELABELS[name]
    for split, labels in zip(SPLITS, (known.train, known.test), strict=True):
        if not len(labels):
            raise ValueError(f"there are no {split} images to label")
        if "labels" in entry.needs and (missing := int((labels < 0).sum())):
            free = ", ".join(sorted(other for other, kind in RELABELS.items() if "labels" not in kind.needs))
            raise ValueError(f"{missing:,} of {len(labels):,} {split} images have no label, which {name} needs; without labels use {free}")
    return entry.make(known, value, np.random.default_rng([seed, 35]))


def _present(known: Known) -> list[int]:
    """The classes in use, in order. One that no split holds is not there at all."""
    return np.union1d(known.train, known.test).tolist()


def _mapped(known: Known, targets: dict[int, int], names: tuple[str, ...]) -> Relabelled:
    """Every row's class through `targets`, the same in both splits."""
    table = np.full(max(targets) + 1, -1)
    table[list(targets)] = list(targets.values())
    return Relabelled(train=table[known.train], test=table[known.test], names=names)


def _joined(known: Known, targets: dict[int, int]) -> tuple[str, ...]:
    """Superclass names out of their members': "cat + dog", "cat + dog + 3 more"."""
    members = [[known.name(label) for label, target in targets.items() if target == slot] for slot in range(max(targets.values()) + 1)]
    return tuple(" + ".join(kinds[:2]) + (f" + {len(kinds) - 2} more" if len(kinds) > 2 else "") for kinds in members)


def identity(known: Known, value: str, rng: Rng) -> Relabelled:
    """The true classes."""
    kinds = _present(known)
    return _mapped(known, {label: slot for slot, label in enumerate(kinds)}, tuple(map(known.name, kinds)))


def superclasses(known: Known, value: str, rng: Rng) -> Relabelled:
    """The classes merged at random into superclasses of even size, or as a JSON file says."""
    if value.endswith(".json"):
        return _given(known, value)
    kinds = _fewer(known, value, of="super")
    # A shuffled deal: sizes differ by one class at most.
    targets = dict(zip(kinds, (rng.permutation(len(kinds)) % _count(value)).tolist(), strict=True))
    return _mapped(known, targets, _joined(known, targets))


def texts(known: Known, value: str, rng: Rng) -> Relabelled:
    """Superclasses by k-means of the class names' text embeddings, seed 35: the relabelling of One for All (14A, ICML 2024)."""
    kinds = _fewer(known, value, of="text")
    vectors = known.texts()
    if len(vectors) <= max(kinds):
        raise ValueError(f"text: {len(vectors)} text embeddings cannot name {max(kinds) + 1} classes")
    chosen = np.ascontiguousarray(vectors[kinds])
    slots, _ = assign(chosen, KMeans(k=_count(value), seed=TEXT_SEED).fit(chosen))
    targets = dict(zip(kinds, np.unique(slots, return_inverse=True)[1].tolist(), strict=True))
    return _mapped(known, targets, _joined(known, targets))


def pseudo(known: Known, value: str, rng: Rng) -> Relabelled:
    """k-means of the exploiter's features, fitted on the training rows: no label is looked at."""
    train, test = known.features()
    slots, other = _split(train, test, k=_count(value), rng=rng)
    return Relabelled(train=slots, test=other, names=tuple(f"cluster {slot}" for slot in range(_count(value))))


def finer(known: Known, value: str, rng: Rng) -> Relabelled:
    """Every class split by k-means on its own features; the class counts are as even as they can be, larger classes first."""
    kinds, total = _present(known), _count(value)
    if total <= len(kinds):
        raise ValueError(
            f"finer:{total} is not more than the {len(kinds)} classes there are; ask for {len(kinds) + 1} or more, or for super"
        )
    train, test = known.features()
    slots, other, names = np.full(len(train), -1), np.full(len(test), -1), []
    by_size = sorted(kinds, key=lambda label: -int((known.train == label).sum()))
    for label in kinds:
        k = total // len(kinds) + (by_size.index(label) < total % len(kinds))
        here, there = known.train == label, known.test == label
        if (rows := int(here.sum())) < k:
            raise ValueError(f"finer:{total} would split the {rows} training images of {known.name(label)} into {k}; ask for fewer classes")
        near, far = _split(train[here], test[there], k=k, rng=rng)
        slots[here], other[there] = near + len(names), far + len(names)
        names += [f"{known.name(label)} {part}" for part in range(k)]
    return Relabelled(train=slots, test=other, names=tuple(names))


def random(known: Known, value: str, rng: Rng) -> Relabelled:
    """Labels that mean nothing, evenly many of each: no victim can beat chance on them."""
    for split, labels in zip(SPLITS, (known.train, known.test), strict=True):
        if len(labels) < _count(value):
            raise ValueError(f"random:{value} needs at least {value} {split} images, there are {len(labels)}; ask for fewer classes")
    deal = [rng.permutation(len(labels)) % _count(value) for labels in (known.train, known.test)]
    return Relabelled(train=deal[0], test=deal[1], names=tuple(f"random {slot}" for slot in range(_count(value))))


def _split(
    train: Float32[np.ndarray, "n D"], test: Float32[np.ndarray, "m D"], *, k: int, rng: Rng
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Clusters of the training vectors, and the nearest of them for each test vector."""
    seed = int(rng.integers(2**30))
    if k == 1:
        return np.zeros(len(train), np.int64), np.zeros(len(test), np.int64)
    centers = KMeans(k=k, seed=seed).fit(np.ascontiguousarray(train))
    return assign(train, centers)[0].astype(np.int64), assign(test, centers)[0].astype(np.int64)


def _fewer(known: Known, value: str, *, of: str) -> list[int]:
    kinds = _present(known)
    if _count(value) >= len(kinds):
        raise ValueError(
            f"{of}:{value} is not fewer than the {len(kinds)} classes there are; ask for 2 to {len(kinds) - 1}, or for identity"
            if len(kinds) > 2
            else f"{of} needs 3 or more classes to merge, there are {len(kinds)}; use identity"
        )
    return kinds


def _given(known: Known, file: str) -> Relabelled:
    """The map of a JSON file: class name or number -> superclass name."""
    table = _read_map(file)
    above = {label: table.get(known.name(label), table.get(str(label), "")) for label in _present(known)}
    if absent := [known.name(label) for label, name in above.items() if not name]:
        raise ValueError(f"{file} has no superclass for {named(absent)}; every class needs one, by its name or its number")
    names = sorted(set(above.values()))
    return _mapped(known, {label: names.index(name) for label, name in above.items()}, tuple(names))


def _read_map(file: str) -> dict[str, str]:
    if not Path(file).is_file():
        raise ValueError(f"there is no file {file}; super takes a number or a JSON file that maps each class to its superclass")
    try:
        table = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(name, str | int) for name in table.values()):
        raise ValueError(f'{file} must map each class to the name of its superclass, such as {{"cat": "animal"}}')
    return {name: str(above) for name, above in table.items()}


def _reader(of: str) -> Callable[[str], int]:
    number = Whole(about="number of classes", default=5, low=2, high=1_000_000)
    return lambda text: number.read(text, of=of)


def _count(value: str) -> int:
    return int(float(value))


def _super_value(text: str) -> object:
    return _read_map(text) if text.endswith(".json") else _reader("super")(text)


RELABELS: dict[str, Relabel] = {
    "identity": Relabel(make=identity, needs=frozenset({"labels"}), read=str, value="", about="the true classes"),
    "super": Relabel(
        make=superclasses,
        needs=frozenset({"labels"}),
        read=_super_value,
        value="5",
        about="classes merged at random into this many superclasses of even size, or as a JSON file maps them",
    ),
    "text": Relabel(
        make=texts,
        needs=frozenset({"labels", "texts"}),
        read=_reader("text"),
        value="20",
        about="classes merged into this many superclasses by k-means of their names' text embeddings",
    ),
    "pseudo": Relabel(
        make=pseudo,
        needs=frozenset({"features"}),
        read=_reader("pseudo"),
        value="10",
        about="this many k-means clusters of the exploiter's own features; needs no labels",
    ),
    "finer": Relabel(
        make=finer,
        needs=frozenset({"labels", "features"}),
        read=_reader("finer"),
        value="20",
        about="every class split by k-means on features, this many classes in all",
    ),
    "random": Relabel(
        make=random, needs=frozenset(), read=_reader("random"), value="10", about="random labels in both splits, the sanity floor"
    ),
}
