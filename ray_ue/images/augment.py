"""Pure batch functions that move and flip images the way an exploiter would."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int32, UInt8
from torch import Tensor

from ray_ue.stripes import stripes
from ray_ue.types import Rng

PACKED = 2**24  # pixels that are packed on the machine at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Crops:
    """One random crop and flip per image, drawn for a whole batch at once."""

    top: Int[np.ndarray, " B"]
    left: Int[np.ndarray, " B"]
    flip: Bool[np.ndarray, " B"]
    pad: int
    size: int

    def of(self, rows: slice | Bool[np.ndarray, " B"]) -> "Crops":
        """The same draws for some images of the batch."""
        return Crops(top=self.top[rows], left=self.left[rows], flip=self.flip[rows], pad=self.pad, size=self.size)


def draw_crops(count: int, *, canvas: int, size: int, flips: float, rng: Rng) -> Crops:
    """Crops of `size` out of `canvas`; an image that has no border to crop from is first mirrored by an eighth of its side."""
    pad = size // 8 if canvas == size else 0
    room = canvas + 2 * pad - size + 1
    top, left = rng.integers(0, room, (2, count))
    return Crops(top=top, left=left, flip=rng.random(count) < flips, pad=pad, size=size)


def crop(images: Float[Tensor, "B 3 H W"], crops: Crops) -> Float[Tensor, "B 3 h w"]:
    """Take the crops, in as many operations whatever the batch; differentiable.

    Deterministic on every device: along each axis at most two places of a crop show the same pixel, and the order of two addends is free.
    """
    y, x = _places(crops, high=images.shape[2], wide=images.shape[3], device=images.device)
    rows = images.gather(2, y[:, None, :, None].expand(-1, images.shape[1], -1, images.shape[3]))
    return rows.gather(3, x[:, None, None, :].expand(-1, images.shape[1], crops.size, -1))


def _places(crops: Crops, *, high: int, wide: int, device: torch.device) -> tuple[Int[Tensor, "B h"], Int[Tensor, "B w"]]:
    """(rows, columns) of the pixels that each crop shows."""
    steps = torch.arange(crops.size, device=device) - crops.pad
    y = _mirrored(torch.from_numpy(crops.top).to(device)[:, None] + steps, side=high)
    x = _mirrored(torch.from_numpy(crops.left).to(device)[:, None] + steps, side=wide)
    return y, torch.where(torch.from_numpy(crops.flip).to(device)[:, None], x.flip(1), x)


def pack_pixels(pixels: UInt8[np.ndarray, "n H W 3"], *, device: torch.device) -> Int32[Tensor, "n H W"]:
    """Rows on a device: one word per pixel, so that a crop is one gather of words, not of bytes."""
    packed = torch.empty(pixels.shape[:3], dtype=torch.int32, device=device)
    for rows in stripes(len(pixels), pixels.shape[1] * pixels.shape[2], pixels=PACKED):
        words = np.zeros((*pixels[rows].shape[:3], 4), np.uint8)
        words[..., :3] = pixels[rows]
        packed[rows] = torch.from_numpy(words.view(np.int32)[..., 0]).to(device)
    return packed


def take_packed(packed: Int32[Tensor, "n H W"], rows: Int[Tensor, " B"], crops: Crops) -> Float[Tensor, "B 3 h w"]:
    """The crops of some rows of a packed set as [0, 1] images, channels last in memory; not differentiable."""
    device, (_, high, wide) = packed.device, packed.shape
    y, x = _places(crops, high=high, wide=wide, device=device)
    places = (rows[:, None] * high + y)[:, :, None] * wide + x[:, None, :]
    pixels = packed.view(-1).index_select(0, places.view(-1)).view(torch.uint8).view(*places.shape, 4)[..., :3]
    return pixels.permute(0, 3, 1, 2).float().div_(255)


def _mirrored(places: Int[Tensor, "B h"], *, side: int) -> Int[Tensor, "B h"]:
    """Places beyond an edge, reflected back inside without repeating the edge."""
    places = places.abs()
    return torch.where(places >= side, 2 * (side - 1) - places, places)
