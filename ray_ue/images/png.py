"""Writes PNG files: three times as fast as Pillow on perturbed pictures, which do not compress by repetition, and stripe by stripe."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from ray_ue.stripes import stripes
from ray_ue.types import Pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR, COLOUR_AND_ALPHA = 2, 6  # the types of pixels in the header
# Each byte less the mean of its left and its upper neighbour. On perturbed photographs that is about as small as the best filter for
# each row (3 % larger under waves, 3 % smaller under noise), and no filter needs to be tried.
AVERAGE = 3
EXIF_MARK = b"Exif\0\0"  # before the block in a JPEG, never in a PNG


def write_png(rgb: Pixels, alpha: UInt8[np.ndarray, "H W"] | None, *, exif: bytes, icc: bytes) -> bytes:
    """The picture as a PNG file with 8 bits a channel."""
    height, width, _ = rgb.shape
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR if alpha is None else COLOUR_AND_ALPHA, 0, 0, 0)
    parts = [SIGNATURE, *_chunk(b"IHDR", header)]
    if icc:
        parts += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if exif:
        parts += _chunk(b"eXIf", exif.removeprefix(EXIF_MARK))
    # run-length entropy coding: level 1 alone searches for repetitions, is slower and gains nothing
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    for lines in _filtered(rgb, alpha):
        if packed := packer.compress(lines.data):
            parts += _chunk(b"IDAT", packed)
    parts += _chunk(b"IDAT", packer.flush())
    return b"".join([*parts, *_chunk(b"IEND", b"")])


def _filtered(rgb: Pixels, alpha: UInt8[np.ndarray, "H W"] | None) -> Iterator[UInt8[np.ndarray, "_ bytes"]]:
    """Some lines at a time as they are packed: each begins with the number of its filter."""
    height, width, _ = rgb.shape
    channels = 3 if alpha is None else 4
    last = np.zeros((1, width * channels), np.uint8)
    for rows in stripes(height, width):
        part = rgb[rows] if alpha is None else np.dstack([rgb[rows], alpha[rows]])
        lines = part.reshape(len(part), width * channels)
        above = np.concatenate([last, lines[:-1]])
        left = np.zeros_like(lines)
        left[:, channels:] = lines[:, :-channels]
        packed = np.empty((len(lines), width * channels + 1), np.uint8)
        packed[:, 0] = AVERAGE
        packed[:, 1:] = lines - ((left & above) + ((left ^ above) >> 1))  # the mean of two bytes without a wider number
        last = lines[-1:]
        yield packed


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    return struct.pack(">I", len(data)) + kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
