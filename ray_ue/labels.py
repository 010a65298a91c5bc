"""Labels of two splits: what an exploiter can label from, what comes out, and how far two labellings agree. Knows no way to relabel."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from ray_ue.values import named

SPLITS = ("training", "test")
Features = tuple[Float32[np.ndarray, "n D"], Float32[np.ndarray, "m D"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What an exploiter can label from.

    `train` and `test` are the true classes, 0 to K - 1, or -1 for a row without one; `names` are the K class names, empty when unknown.
    `features()` are the exploiter's own encoder's vectors of the clean training and test rows, `texts()` the embeddings `K D` of
    "a photo of a {class}"; both cost time and are called only when needed. `texts` raises `ValueError` when there is no text encoder.
    """

    train: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]
    names: tuple[str, ...]
    features: Callable[[], Features]
    texts: Callable[[], Float32[np.ndarray, "K D"]]

    def __post_init__(self) -> None:
        top = max(int(self.train.max(initial=-1)), int(self.test.max(initial=-1)))
        if self.names and top >= len(self.names):
            raise ValueError(f"label {top} has no name: there are only {len(self.names)} class names")

    def name(self, label: int) -> str:
        return self.names[label] if self.names else f"class {label}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Relabelled:
    """The exploiter's labels of both splits, 0 to `classes` - 1, each of them in use in both, and the classes' names."""

    train: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        labels = (self.train, self.test)
        assert all(part.min(initial=0) >= 0 and part.max(initial=0) < len(self.names) for part in labels), "labels are 0 to classes - 1"
        for split, part in zip(SPLITS, labels, strict=True):
            counts = np.bincount(part, minlength=len(self.names))
            if (used := int((counts > 0).sum())) == 1:
                only = self.names[int(counts.argmax())]
                raise ValueError(f"all {split} images are of one class ({only}); two or more are needed to learn anything")
            if used < len(self.names):
                absent = [self.names[label] for label in np.flatnonzero(counts == 0)]
                raise ValueError(
                    f"{_classes(absent)} no {split} images; give the {split} part images of every class, or ask for fewer classes"
                )

    @property
    def classes(self) -> int:
        return len(self.names)

    @property
    def chance(self) -> float:
        """What naming the most frequent test class always gets right."""
        return float(np.bincount(self.test).max() / len(self.test))


def _classes(names: list[str]) -> str:
    return f"{'class' if len(names) == 1 else 'classes'} {named(names)} {'has' if len(names) == 1 else 'have'}"


def agreement(slots: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """(adjusted mutual information, purity) of clusters and labels; rows with a slot below 0 are left out, nan when none remains.

    Purity is the share of rows whose label is the most frequent one of their slot.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    slots, labels = slots[slots >= 0], labels[slots >= 0]
    if not len(slots):
        return float("nan"), float("nan")
    counts = np.zeros((int(slots.max()) + 1, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (slots, labels), 1)
    return float(adjusted_mutual_info_score(labels, slots)), float(counts.max(1).sum() / len(slots))
