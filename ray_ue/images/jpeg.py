"""A JPEG file as a step that slopes pass through: the real codec forward, and backward only what that file has kept."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, JpegImagePlugin
from torch import Tensor

from ray_ue.types import Pixels

GRID = 16  # pixels of a block of chroma at 4:2:0
YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])  # JFIF; rows are Y, Cb, Cr
RGB = torch.linalg.inv(YCC)
ORDER = torch.arange(8.0)
DCT = ((2 * ORDER + 1) * ORDER[:, None] * torch.pi / 16).cos() * torch.tensor([0.125**0.5] + [0.5] * 7)[:, None]

Images = Float[Tensor, "B 3 h w"]
Framed = UInt8[np.ndarray, "_ _ 3"]
Whole = Int[np.ndarray, " B"]
Blocks = Float[Tensor, "_ _ _ _ 8 8"]  # the cosine transform of each block of 8 x 8
Kept = Bool[Tensor, "_ _ _ _ 8 8"]


def through_jpeg(images: Images, *, qualities: Whole, tops: Whole, lefts: Whole) -> Images:
    """Each [0, 1] image as a JPEG file of its quality (4:2:0) gives it back, mirrored beyond its upper and left edge by `tops` and
    `lefts` pixels (below 16) before it is coded, so that the file's blocks begin elsewhere.

    A slope is projected on the coefficients of the discrete cosine transform that the file did not round to zero: what it removes has
    no slope. Slopes of the identity in their place would keep pushing detail that no file carries.
    """
    if not len(images):
        return images
    levels = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    high, wide = (-(-(side + GRID - 1) // GRID) * GRID for side in levels.shape[1:3])

    def code(pixels: Pixels, quality: int, top: int, left: int) -> tuple[Framed, Pixels, UInt8[np.ndarray, "2 8 8"]]:
        below, right = high - len(pixels) - top, wide - pixels.shape[1] - left
        framed = np.pad(pixels, ((top, below), (left, right), (0, 0)), "reflect")
        file = io.BytesIO()
        Image.fromarray(framed).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        file.seek(0)
        image = JpegImagePlugin.JpegImageFile(file)
        decoded = np.asarray(image)[top : top + len(pixels), left : left + pixels.shape[1]]
        return framed, decoded, np.array([image.quantization[0], image.quantization[1]], np.uint8).reshape(2, 8, 8)

    with ThreadPoolExecutor() as threads:  # Pillow works outside the interpreter lock
        framed, decoded, tables = (
            np.stack(part) for part in zip(*threads.map(code, levels, qualities.tolist(), tops.tolist(), lefts.tolist()), strict=True)
        )
    kept = _kept(torch.from_numpy(framed).to(images.device), torch.from_numpy(tables).to(images.device))
    shown = torch.from_numpy(decoded).to(images.device).permute(0, 3, 1, 2).float() / 255
    return _Coded.apply(images, shown, *kept, tops, lefts)


class _Coded(torch.autograd.Function):
    """`shown` forward. The codec's linear part is its own transpose but for the change of colours, so that one function serves."""

    @staticmethod
    def forward(ctx: Any, images: Images, shown: Images, luma: Kept, chroma: Kept, tops: Whole, lefts: Whole) -> Images:
        ctx.save_for_backward(luma, chroma)
        ctx.tops, ctx.lefts = tops, lefts
        return shown

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Images, None, None, None, None, None]:
        luma, chroma = ctx.saved_tensors
        (slope,), (high, wide) = slopes, (8 * luma.shape[2], 8 * luma.shape[3])
        size_y, size_x = slope.shape[2:]
        padded = F.pad(slope, (GRID, wide - size_x, GRID, high - size_y))
        framed = _parts(padded, tops=GRID - ctx.tops, lefts=GRID - ctx.lefts, size=(high, wide))
        planes = torch.einsum("kc,bkhw->bchw", RGB.to(slope.device), framed)
        light = _planes(_coefficients(planes[:, :1]) * luma)
        colour = _planes(_coefficients(F.avg_pool2d(planes[:, 1:], 2)) * chroma).repeat_interleave(2, 2).repeat_interleave(2, 3)
        moved = torch.einsum("kc,bkhw->bchw", YCC.to(slope.device), torch.cat([light, colour], 1))
        return _parts(moved, tops=ctx.tops, lefts=ctx.lefts, size=(size_y, size_x)), None, None, None, None, None


def _parts(images: Float[Tensor, "B 3 H W"], *, tops: Whole, lefts: Whole, size: tuple[int, int]) -> Float[Tensor, "B 3 h w"]:
    """Of each image the part of `size` that begins at its own place; one gather for the whole batch."""
    rows, columns = (
        torch.from_numpy(starts[:, None] + np.arange(length)).to(images.device) for starts, length in zip((tops, lefts), size, strict=True)
    )
    images_of = torch.arange(len(images), device=images.device)
    return images[images_of[:, None, None], :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def _kept(framed: UInt8[Tensor, "B H W 3"], tables: UInt8[Tensor, "B 2 8 8"]) -> tuple[Kept, Kept]:
    """Which coefficients of brightness and of colour are not rounded to zero; `tables` are their rounding steps."""
    planes = torch.einsum("kc,bhwc->bkhw", YCC.to(framed.device), framed.float() - 128)
    halves = tables[:, :, None, None].float() / 2
    light, colour = _coefficients(planes[:, :1]), _coefficients(F.avg_pool2d(planes[:, 1:], 2))
    return light.abs() >= halves[:, :1], colour.abs() >= halves[:, 1:]


def _coefficients(planes: Float[Tensor, "B C H W"]) -> Blocks:
    dct = DCT.to(planes.device)
    return dct @ planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4) @ dct.T


def _planes(blocks: Blocks) -> Float[Tensor, "B C H W"]:
    dct = DCT.to(blocks.device)
    return (dct.T @ blocks @ dct).transpose(3, 4).flatten(4, 5).flatten(2, 3)
