"""Filters: every slot has a small kernel that its images are blurred with."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float32
from safetensors.numpy import load_file, save_file

from ray_ue.perturbations.base import Poison
from ray_ue.stripes import stripes
from ray_ue.types import Pixels

Kernels = Float32[np.ndarray, "S k k"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Filter(Poison):
    """One kernel per slot for all three channels: convolve, with zeros around the image, and make the brightest value 255.

    Sadasivan et al. (CVPR 2023), section 3, whose code rounds down where this rounds to the nearest level. Kernels are made for
    images of `side` pixels. On a larger image each of a kernel's taps moves in proportion, to the nearest pixel, so that a victim who
    scales the shorter side to `side` sees about the filter that was meant; the authors filter what is scaled already. On a smaller one
    the taps stay, for they would fall together. An image that is black all over remains so.
    """

    kind: ClassVar[str] = "filter"
    kernels: Kernels
    side: int

    def __post_init__(self) -> None:
        shape = self.kernels.shape
        if self.kernels.dtype != np.float32 or len(shape) != 3 or shape[1] != shape[2] or shape[1] % 2 == 0:
            raise ValueError(f"kernels are float32 with shape [slots, k, k] and odd k, got {self.kernels.dtype} {shape}")
        if not np.isfinite(self.kernels).all() or self.kernels.min(initial=0) < 0 or (self.kernels.max((1, 2)) <= 0).any():
            raise ValueError("kernels have finite entries of 0 and more, and one above 0 at least")

    @property
    def slots(self) -> int:
        return len(self.kernels)

    def apply(self, pixels: Pixels, slot: int, *, key: str = "") -> Pixels:
        self.check(slot)
        taps = list(self._taps(slot, scale=max(1, min(pixels.shape[:2]) / self.side)))
        brightest = max(float(total.max()) for _, total in _filtered(pixels, taps))
        if brightest <= 0:
            return pixels.copy()
        changed = np.empty_like(pixels)
        for rows, total in _filtered(pixels, taps):  # again: to keep it all would take four bytes a channel
            changed[rows] = np.rint(total * (255 / brightest))
        return changed

    def save(self, path: Path) -> None:
        save_file({"kernels": np.ascontiguousarray(self.kernels)}, path, metadata={"poison": f"{self.kind} {self.side}"})

    @classmethod
    def open(cls, path: Path, side: int) -> "Filter":
        return cls(kernels=load_file(path)["kernels"], side=side)

    def _taps(self, slot: int, *, scale: float) -> Iterator[tuple[tuple[int, int], np.float32]]:
        """(where a tap looks: pixels down and right, its weight)."""
        kernel = self.kernels[slot]
        steps = [round((i - len(kernel) // 2) * scale) for i in range(len(kernel))]
        for (i, j), weight in np.ndenumerate(kernel):
            yield (steps[i], steps[j]), weight


def _filtered(pixels: Pixels, taps: list[tuple[tuple[int, int], np.float32]]) -> Iterator[tuple[slice, Float32[np.ndarray, "_ W 3"]]]:
    """Some rows at a time, with what the taps make of them."""
    height, width = pixels.shape[:2]
    for rows in stripes(height, width):
        total = np.zeros((rows.stop - rows.start, width, 3), np.float32)
        for (down, right), weight in taps:
            read, added = _overlap(right, width)
            first, last = max(0, rows.start + down), min(height, rows.stop + down)
            if first < last:
                begin = first - down - rows.start
                total[begin : begin + last - first, added] += weight * pixels[first:last, read].astype(np.float32)
        yield rows, total


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """What is read and where it is added so that place p gets place p + `shift`, as far as both are inside."""
    count = max(0, length - abs(shift))
    read, added = (shift, 0) if shift > 0 else (0, -shift)
    return slice(read, read + count), slice(added, added + count)
