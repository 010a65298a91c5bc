"""Filters that an exploiter runs once over the published images: uint8 blocks in, uint8 blocks out. Knows no labels and no training."""

import io
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image, JpegImagePlugin

from ray_ue.training import Block

VALUES = 2**24  # pixel values held as floats at a time: 64 MiB


def chunks(pixels: Block) -> Iterator[slice]:
    """Slices of rows that are small enough to be worked on as floats."""
    rows = max(1, VALUES // int(np.prod(pixels.shape[1:])))
    return (slice(start, start + rows) for start in range(0, len(pixels), rows))


def _rewrite(pixels: Block, change: Callable[[Block], Block]) -> Block:
    """A new block, changed chunk by chunk: the old one may be a read-only file."""
    out = np.empty(pixels.shape, np.uint8)
    for rows in chunks(pixels):
        out[rows] = change(np.asarray(pixels[rows]))
    return out


def grayscale(pixels: Block) -> Block:
    """ITU-R 601 luma in all three channels, rounded as Pillow does it."""
    weights = np.array([19595, 38470, 7471], np.uint32)  # 0.299, 0.587, 0.114 of 2 ** 16
    return _rewrite(pixels, lambda part: np.repeat(((part @ weights + 2**15) >> 16).astype(np.uint8)[..., None], 3, axis=-1))


def jpeg(pixels: Block, quality: int) -> Block:
    """Through a JPEG file and back, with Pillow's own chroma subsampling (4:2:0), in threads: Pillow works outside the interpreter lock."""

    def through(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        file.seek(0)
        return np.asarray(JpegImagePlugin.JpegImageFile(file))

    with ThreadPoolExecutor() as threads:
        return _rewrite(pixels, lambda part: np.stack(list(threads.map(through, part))))


def bits(pixels: Block, kept: int) -> Block:
    """Only the highest `kept` bits of each channel, spread over 0 to 255."""
    table = np.rint((np.arange(256) >> (8 - kept)) * (255 / (2**kept - 1))).astype(np.uint8)
    return _rewrite(pixels, lambda part: table[part])


def blur(pixels: Block, sigma: float) -> Block:
    """Gaussian blur of `sigma` pixels, mirrored at the edges."""
    return _rewrite(pixels, lambda part: np.rint(smooth(part.astype(np.float32), sigma)).astype(np.uint8))


def smooth(images: Float32[np.ndarray, "n h w 3"], sigma: float) -> Float32[np.ndarray, "n h w 3"]:
    """The images under a Gaussian that reaches 3 `sigma`, or as far as an image can be mirrored.

    Two matrix products, exact at any `sigma`: on a CPU they are several times faster than convolutions of one channel.
    """
    down, across = (torch.from_numpy(_spread(side, sigma)) for side in images.shape[1:3])
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    return (down @ planes @ across.T).permute(0, 2, 3, 1).contiguous().numpy()


def _spread(side: int, sigma: float) -> Float32[np.ndarray, "side side"]:
    """Row i weighs the places that a blurred place i is made of, mirrored at both ends without repeating them."""
    reach = min(math.ceil(3 * sigma), side - 1)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    places = np.abs(np.arange(side)[:, None] + steps)
    places = np.where(places >= side, 2 * (side - 1) - places, places)
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.arange(side)[:, None], places), weights / weights.sum())
    return matrix.astype(np.float32)
