"""Pure batch functions that move and flip images the way an exploiter would; knows nothing of losses or poisons."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ray_ue.types import Rng


@dataclass(frozen=True, kw_only=True, eq=False)
class Crops:
    """One random crop and flip per image, drawn for a whole batch at once."""

    top: Int[np.ndarray, " B"]
    left: Int[np.ndarray, " B"]
    flip: Bool[np.ndarray, " B"]
    pad: int
    size: int

    def of(self, rows: slice) -> "Crops":
        """The same draws for some images of the batch."""
        return Crops(top=self.top[rows], left=self.left[rows], flip=self.flip[rows], pad=self.pad, size=self.size)


def draw(count: int, *, canvas: int, size: int, flips: float, rng: Rng) -> Crops:
    """Crops of `size` out of `canvas`; an image that has no border to crop from is first mirrored by an eighth of its side."""
    pad = size // 8 if canvas == size else 0
    room = canvas + 2 * pad - size + 1
    top, left = rng.integers(0, room, (2, count))
    return Crops(top=top, left=left, flip=rng.random(count) < flips, pad=pad, size=size)


def crop(images: Float[Tensor, "B 3 H W"], crops: Crops) -> Float[Tensor, "B 3 h w"]:
    """Take the crops; differentiable, and deterministic on every device (no scattered adds)."""
    padded = F.pad(images, (crops.pad,) * 4, mode="reflect") if crops.pad else images
    size = crops.size
    cut = torch.stack([image[:, y : y + size, x : x + size] for image, y, x in zip(padded.unbind(0), crops.top, crops.left, strict=True)])
    flip = torch.from_numpy(crops.flip).to(images.device)[:, None, None, None]
    return torch.where(flip, cut.flip(-1), cut)


def take(pixels: UInt8[Tensor, "n H W 3"], rows: Int[Tensor, " B"], crops: Crops) -> Float[Tensor, "B 3 h w"]:
    """The crops of some rows of a resident set as [0, 1] images, channels last in memory, in one gather; not differentiable."""
    device = pixels.device
    steps = torch.arange(crops.size, device=device) - crops.pad
    y = _mirrored(torch.from_numpy(crops.top).to(device)[:, None] + steps, side=pixels.shape[1])
    x = _mirrored(torch.from_numpy(crops.left).to(device)[:, None] + steps, side=pixels.shape[2])
    x = torch.where(torch.from_numpy(crops.flip).to(device)[:, None], x.flip(1), x)
    return pixels[rows[:, None, None], y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2).float().div(255)


def _mirrored(places: Int[Tensor, "B h"], *, side: int) -> Int[Tensor, "B h"]:
    """Places beyond an edge, reflected back inside without repeating the edge."""
    places = places.abs()
    return torch.where(places >= side, 2 * (side - 1) - places, places)
