"""Pixels: every slot has one pixel that its images get in one colour."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int, UInt8
from safetensors.numpy import load_file, save_file

from ray_ue.perturbations.base import Poison
from ray_ue.types import Pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixel(Poison):
    """Slot s sets the pixel in row `places[s, 0]` and column `places[s, 1]` of a grid of `side` x `side` to `colours[s]`.

    Wu et al. (ICLR 2023). On an image of another size the grid lies over the centred square of its shorter side, as a bank of
    deltas does, and the cell that the pixel has become is filled: a rectangle, of one pixel at least.
    """

    kind: ClassVar[str] = "pixel"
    places: Int[np.ndarray, "S 2"]
    colours: UInt8[np.ndarray, "S 3"]
    side: int

    def __post_init__(self) -> None:
        if self.places.shape != (len(self.places), 2) or self.colours.shape != (len(self.places), 3):
            raise ValueError(f"each slot has a row and column and a colour of three, got {self.places.shape} and {self.colours.shape}")
        if self.places.min(initial=0) < 0 or self.places.max(initial=0) >= self.side:
            raise ValueError(f"places go from 0 to {self.side - 1}, got {self.places.min()} to {self.places.max()}")

    @property
    def slots(self) -> int:
        return len(self.places)

    def apply(self, pixels: Pixels, slot: int, *, key: str = "") -> Pixels:
        self.check(slot)
        side, changed = min(pixels.shape[:2]), pixels.copy()
        row, column = (
            _cell(int(place), grid=self.side, side=side, length=length) for place, length in zip(self.places[slot], pixels.shape[:2])
        )
        changed[row, column] = self.colours[slot]
        return changed

    def save(self, path: Path) -> None:
        arrays = {"places": np.ascontiguousarray(self.places, np.int32), "colours": np.ascontiguousarray(self.colours)}
        save_file(arrays, path, metadata={"poison": f"{self.kind} {self.side}"})

    @classmethod
    def open(cls, path: Path, side: int) -> "Pixel":
        tensors = load_file(path)
        return cls(places=tensors["places"], colours=tensors["colours"], side=side)


def _cell(place: int, *, grid: int, side: int, length: int) -> slice:
    """The stretch of an axis that cell `place` of `grid` takes, in the centred square of `side` pixels."""
    begin = place * side // grid
    end = max(begin + 1, (place + 1) * side // grid)
    offset = round((length - side) / 2)
    return slice(offset + begin, offset + end)
