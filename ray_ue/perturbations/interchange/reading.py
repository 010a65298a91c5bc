"""Perturbations from files, in levels: which axis is which and what a value means, with clear rules and no guess. Clips nothing."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ray_ue.perturbations.budget import MOST, Budget
from ray_ue.perturbations.interchange.files import Raw, open_raw

ZERO = 128  # the level of no change where levels are kept as uint8
READ = 64 * 2**20  # bytes that are looked at at a time
WHOLE = 1e-3  # how far from a whole level rounding may have left a float


@dataclass(frozen=True, kw_only=True, eq=False)
class Perturbations:
    """One square perturbation per entry; a level is `factor` times what is stored, less `zero`. `largest` is in levels."""

    name: str
    raw: Raw
    channels_last: bool
    factor: float
    zero: int
    largest: float

    def __len__(self) -> int:
        return self.raw.shape[0]

    @property
    def side(self) -> int:
        return self.raw.shape[2]

    def levels(self, entries: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 3 h w"]:
        """Some entries in levels, where a file in other units may say 7.6."""
        entries_read = (self.raw[entries].astype(np.float32) - self.zero) * self.factor
        return entries_read.transpose(0, 3, 1, 2) if self.channels_last else entries_read

    def check(self, budget: Budget) -> None:
        """A `ValueError` if an entry is beyond the budget: nothing is clipped."""
        if self.largest <= budget.levels + WHOLE:
            return
        if (needed := math.ceil(self.largest - WHOLE)) > MOST:
            raise ValueError(f"{self.name} reaches {needed} levels and no budget is above {MOST}; are these the perturbed images?")
        raise ValueError(f"{self.name} reaches {self.largest:.4g} levels, but the budget is {budget}; --budget {needed}/255 would fit")


def open_perturbations(path: Path, *, key: str) -> Perturbations:
    """Read `path`; `key` names one of several arrays in a file, "" the only one.

    Shapes: [n, 3, side, side] or [n, side, side, 3]. Values: int8 and wider integers are levels of 255; uint8, in arrays and PNG files,
    are levels and 128; floats are in [-1, 1] if none is beyond that, else they must be whole levels. `.npy` files are mapped, others read.
    """
    raw = open_raw(path, key=key)
    shape = raw.shape
    if len(shape) != 4 or not shape[0]:
        raise ValueError(f"{path} holds {raw.dtype} {_list(shape)}; it should be [n, 3, side, side] or [n, side, side, 3]")
    first, last = shape[1] == 3 and shape[2] == shape[3], shape[3] == 3 and shape[1] == shape[2]
    if first == last:
        what = "could be either" if first else "is neither"
        raise ValueError(f"{path} holds {raw.dtype} {_list(shape)}, which {what} of [n, 3, side, side] and [n, side, side, 3]")
    factor, zero, largest = _scale(path, raw)
    return Perturbations(name=str(path), raw=raw, channels_last=last, factor=factor, zero=zero, largest=largest)


def _scale(path: Path, raw: Raw) -> tuple[float, int, float]:
    """(factor, zero, largest level) of what is stored."""
    if raw.dtype.kind not in "iuf":
        raise ValueError(f"{path} holds {raw.dtype}; perturbations are integers (levels) or floats")
    zero = ZERO if raw.dtype == np.uint8 else 0
    largest, whole = 0.0, True
    for block in _blocks(raw):
        values = block.astype(np.float32) - zero
        if not np.isfinite(values).all():
            raise ValueError(f"{path} holds values that are not finite; every one should be a number")
        largest = max(largest, float(np.abs(values).max()))
        whole = whole and bool((np.abs(values - np.rint(values)) <= WHOLE).all())
    if largest == 0:
        raise ValueError(f"{path} changes nothing: all its values are {zero}")
    if raw.dtype.kind != "f":
        return 1.0, zero, largest
    if whole and largest <= 1:
        raise ValueError(f"{path} holds {raw.dtype} of only -1, 0 and 1, which may be one level or the full range; store levels as int8")
    if not whole and largest > 1:
        raise ValueError(
            f"{path} holds {raw.dtype} up to {largest:.4g}, beyond 1 and not whole; floats are in [-1, 1], or whole levels of 255"
        )
    return (1.0, 0, largest) if whole else (255.0, 0, 255 * largest)


def _blocks(raw: Raw) -> Iterator[np.ndarray]:
    size = max(1, READ // max(1, int(np.prod(raw.shape[1:])) * raw.dtype.itemsize))
    for begin in range(0, raw.shape[0], size):
        yield raw[np.arange(begin, min(begin + size, raw.shape[0]))]


def _list(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
