"""The L-inf budget in 8-bit steps ("levels"): the only module that parses a budget, clamps a perturbation or applies it."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Int8, Shaped, UInt8

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # torch takes seconds to import, and most that is done with a budget is done in numpy

MOST = 127  # a bank entry is stored as int8
Parts = Iterator[tuple[tuple[slice, slice], Int8[np.ndarray, "_ _ 3"]]]  # (rows and columns, what is added there in whole levels)
STRENGTHS = {"low": 8, "mid": 16, "high": 32}  # levels of MI-UE's paper, of UC's paper, and twice that, which is plain to see


@dataclass(frozen=True)
class Budget:
    """`levels` 8-bit steps per channel: 16 is 16/255 in [0, 1] pixel units."""

    levels: int

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= MOST:
            raise ValueError(f"a budget has 1 to {MOST} levels of 255, got {self.levels}; 16/255 is the UC paper's")

    @classmethod
    def parse(cls, text: str | int | float) -> "Budget":
        """Read `16`, `16/255`, `0.0627` or `mid`: values of 1 and more are levels, smaller ones are fractions of the full range."""
        words = str(text).strip().lower()
        if words in STRENGTHS:
            return cls(levels=STRENGTHS[words])
        if (other := re.fullmatch(r"(\d+(?:\.\d+)?)\s*/\s*(\d+)", words)) and other[2] != "255":
            raise ValueError(f"the budget {words!r} counts parts of {other[2]}, but a channel has 255 steps; write {other[1]}/255")
        fraction = re.fullmatch(r"(\d+(?:\.\d+)?)\s*/\s*255", words)
        try:
            levels = float(fraction[1]) if fraction else float(words)
        except ValueError:
            raise ValueError(f"the budget {words!r} is not a number; write 16, 16/255, 0.0627, low, mid or high") from None
        if not math.isfinite(levels):
            raise ValueError(f"the budget {words!r} is not a number; write 16, 16/255 or 0.0627")
        if not fraction and 0 < levels < 1:
            levels *= 255
        if abs(levels - round(levels)) > 0.05:
            raise ValueError(
                f"the budget {words!r} is {levels:.2f} steps of 255, but images hold whole steps; "
                f"write {' or '.join(f'{step}/255' for step in (int(levels), int(levels) + 1) if 1 <= step <= MOST) or '16/255'}"
            )
        return cls(levels=round(levels))

    @property
    def radius(self) -> float:
        """The same bound in [0, 1] pixel units."""
        return self.levels / 255

    def project(self, delta: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Clip a [0, 1]-unit perturbation to the L-inf ball."""
        return delta.clamp(-self.radius, self.radius)

    def quantise(self, delta: Shaped[np.ndarray, "*any"]) -> Shaped[np.ndarray, "*any"]:
        """Round a [0, 1]-unit perturbation to whole levels within the budget, as int8."""
        return np.clip(np.rint(np.asarray(delta, np.float64) * 255), -self.levels, self.levels).astype(np.int8)

    def apply(self, pixels: UInt8[np.ndarray, "H W 3"], delta: Int[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """Add `delta` (whole levels, int8 or int16) to uint8 pixels, clipped to the budget and to [0, 255]."""
        inside = np.clip(np.ascontiguousarray(delta), -self.levels, self.levels).astype(np.int8, copy=False)
        up, down = np.maximum(inside, 0).view(np.uint8), np.negative(np.minimum(inside, 0)).view(np.uint8)
        changed = pixels + np.minimum(up, 255 - pixels)  # in uint8, which is several times faster than in a wider type
        return np.subtract(changed, np.minimum(down, changed), out=changed)

    def apply_parts(self, pixels: UInt8[np.ndarray, "H W 3"], parts: Parts) -> UInt8[np.ndarray, "H W 3"]:
        """`apply` for a delta that comes in parts, each with its place: what is whole is the result alone."""
        changed = np.empty_like(pixels)
        for place, delta in parts:
            changed[place] = self.apply(pixels[place], delta)
        return changed

    def __str__(self) -> str:
        return f"{self.levels}/255"
