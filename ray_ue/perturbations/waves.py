"""Waves: every slot has a few plane waves in colour, whose position in a picture is a function of the picture's key."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64
from safetensors.numpy import load_file, save_file

from ray_ue.perturbations.base import Poison
from ray_ue.perturbations.budget import Budget, Parts
from ray_ue.perturbations.fitting import Delta, assembled
from ray_ue.stripes import stripes
from ray_ue.types import Pixels

SHORTEST = 3.0  # pixels of a period at least: a shorter one would alias
REACH = 64.0  # shorter sides that a shift moves the waves by at most


@dataclass(frozen=True, kw_only=True, eq=False)
class Waves(Poison):
    """Slot s adds `levels * clip(gain * w)`, where w is the sum of its K waves `colour * cos(2 pi (cycles . place) + phase)` at a root
    mean square of 1, and clip goes to -1 and 1. The place of a pixel sways to the right by `bend * sin(2 pi down)`, and down by
    `bend * sin(2 pi right)`, all in shorter sides: the crests are bent, and no wave is a line of the spectrum that could be taken out.

    `cycles` are periods per shorter side, (right, down), so that a picture that is resized carries the same waves; on a picture too small
    for them all are slowed until none is shorter than three pixels. Each picture's waves are moved by an amount that depends on its key
    and `salt`: the pictures of a slot share frequencies and colours, and have no mean in common.
    """

    kind: ClassVar[str] = "waves"
    cycles: Float32[np.ndarray, "S K 2"]
    colours: Float32[np.ndarray, "S K 3"]
    phases: Float32[np.ndarray, "S K"]
    gain: float
    salt: int
    budget: Budget
    bend: float = 0.0

    def __post_init__(self) -> None:
        shape = self.phases.shape
        if len(shape) != 2 or self.cycles.shape != (*shape, 2) or self.colours.shape != (*shape, 3):
            shapes = f"{self.cycles.shape}, {self.colours.shape} and {shape}"
            raise ValueError(f"waves have cycles [slots, K, 2], colours [slots, K, 3] and phases [slots, K], got {shapes}")
        if not all(np.isfinite(values).all() for values in (self.cycles, self.colours, self.phases)) or not self.gain > 0:
            raise ValueError(f"waves are finite numbers and their gain is above 0, got a gain of {self.gain:g}")
        if not 0 <= self.bend < 1:
            raise ValueError(f"waves are bent by 0 or more and less than 1 shorter side, got {self.bend:g}")

    @property
    def slots(self) -> int:
        return len(self.phases)

    @property
    def most(self) -> int:
        return self.budget.levels

    def delta(self, slot: int, *, height: int, width: int, key: str) -> Delta:
        """What is added to the picture called `key`, in whole levels."""
        return assembled(self._parts(slot, height=height, width=width, key=key), height=height, width=width)

    def _parts(self, slot: int, *, height: int, width: int, key: str) -> Parts:
        self.check(slot)
        side = min(height, width)
        cycles = self.cycles[slot].astype(np.float64)
        fastest = (1 + 2 * np.pi * self.bend) * np.abs(cycles).max()
        cycles *= min(1.0, side / (SHORTEST * fastest))
        right, down = (_places(length, side=side) + shift for length, shift in zip((width, height), self._shift(key)))
        to_right, to_down = (self.bend * np.sin(2 * np.pi * places) for places in (down, right))
        angles = [
            (2 * np.pi * (along * down + across * to_right) + phase, 2 * np.pi * (across * right + along * to_down))
            for (across, along), phase in zip(cycles, self.phases[slot])
        ]
        turns = [(np.cos(y), np.cos(x), np.sin(y), np.sin(x)) for y, x in angles]
        power = float((self.colours[slot].astype(np.float64) ** 2).mean(1).sum()) / 2  # of a sum of waves, over whole periods
        scale = np.float32(self.budget.levels * self.gain / max(power**0.5, 1e-12))
        for rows in stripes(height, width):
            total = np.zeros((3, rows.stop - rows.start, width), np.float32)
            for (cos_y, cos_x, sin_y, sin_x), colour in zip(turns, self.colours[slot]):
                wave = np.multiply.outer(cos_y[rows], cos_x)
                wave -= np.multiply.outer(sin_y[rows], sin_x)
                total += wave.astype(np.float32) * colour[:, None, None]
            total *= scale
            levels = np.rint(np.clip(total, -self.budget.levels, self.budget.levels, out=total), out=total)
            yield (rows, slice(None)), levels.astype(np.int8).transpose(1, 2, 0)

    def apply(self, pixels: Pixels, slot: int, *, key: str = "") -> Pixels:
        return self.budget.apply_parts(pixels, self._parts(slot, height=pixels.shape[0], width=pixels.shape[1], key=key))

    def save(self, path: Path) -> None:
        arrays = {
            "cycles": np.ascontiguousarray(self.cycles, np.float32),
            "colours": np.ascontiguousarray(self.colours, np.float32),
            "phases": np.ascontiguousarray(self.phases, np.float32),
            "gain": np.array([self.gain], np.float64),
            "salt": np.array([self.salt], np.int64),
        }
        if self.bend:
            arrays["bend"] = np.array([self.bend], np.float64)
        save_file(arrays, path, metadata={"poison": f"{self.kind} {self.budget.levels}"})

    @classmethod
    def open(cls, path: Path, levels: int) -> "Waves":
        tensors = load_file(path)
        return cls(
            cycles=tensors["cycles"],
            colours=tensors["colours"],
            phases=tensors["phases"],
            gain=float(tensors["gain"][0]),
            salt=int(tensors["salt"][0]),
            budget=Budget(levels=levels),
            bend=float(tensors["bend"][0]) if "bend" in tensors else 0.0,
        )

    def _shift(self, key: str) -> tuple[float, float]:
        """How far the waves of the picture called `key` are moved right and down, in shorter sides."""
        digest = hashlib.sha256(f"{self.salt}\0{key}".encode("utf-8", "surrogateescape")).digest()
        right, down = (int.from_bytes(part, "little") / 2**64 * REACH for part in (digest[:8], digest[8:16]))
        return right, down


def _places(length: int, *, side: int) -> Float64[np.ndarray, " length"]:
    """The pixels' centres along an axis in shorter sides, 0 in the middle of the picture."""
    return (np.arange(length) + 0.5 - length / 2) / side
