"""Writes PNG files: three times as fast as Pillow on perturbed pictures, which do not compress by repetition, and stripe by stripe."""

import struct
import zlib
from collections.abc import Iterator
from itertools import count

import numpy as np
from jaxtyping import UInt8

from ray_ue.images.conversion import Alpha
from ray_ue.images.motion import Motion
from ray_ue.stripes import stripes
from ray_ue.types import Pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR, COLOUR_AND_ALPHA = 2, 6  # the types of pixels in the header
# Each byte less the mean of its left and its upper neighbour. On perturbed photographs that is about as small as the best filter for
# each row (3 % larger under waves, 3 % smaller under noise), and no filter needs to be tried.
AVERAGE = 3
EXIF_MARK = b"Exif\0\0"  # before the block in a JPEG, never in a PNG


def write_png(rgb: Pixels, alpha: Alpha, *, exif: bytes, icc: bytes, motion: Motion | None = None) -> bytes:
    """The picture as a PNG file with 8 bits a channel; with `motion` an animated one (APNG) of whole frames."""
    height, width, _ = rgb.shape
    frames = ((rgb, alpha), *(motion.frames if motion else ()))
    opaque = all(mask is None for _, mask in frames)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR if opaque else COLOUR_AND_ALPHA, 0, 0, 0)
    parts = [SIGNATURE, *_chunk(b"IHDR", header)]
    if icc:
        parts += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if exif:
        parts += _chunk(b"eXIf", exif.removeprefix(EXIF_MARK))
    if motion:
        parts += _chunk(b"acTL", struct.pack(">II", len(frames) - motion.poster, motion.plays))
    order = count()  # of the chunks that only an animation has
    for number, (pixels, mask) in enumerate(frames):
        if motion and not (motion.poster and number == 0):
            shown = (motion.durations[number], 1000, 0, 0)  # in ms; the next frame stands in place of this one, also where it is clear
            parts += _chunk(b"fcTL", struct.pack(">IIIIIHHBB", next(order), width, height, 0, 0, *shown))
        for packed in _packed(pixels, None if opaque else _mask(mask, shape=(height, width))):
            parts += _chunk(b"fdAT", struct.pack(">I", next(order)) + packed) if number else _chunk(b"IDAT", packed)
    return b"".join([*parts, *_chunk(b"IEND", b"")])


def _mask(alpha: Alpha, *, shape: tuple[int, int]) -> Alpha:
    return np.full(shape, 255, np.uint8) if alpha is None else alpha


def _packed(rgb: Pixels, alpha: Alpha) -> Iterator[bytes]:
    """A frame's lines, compressed some at a time."""
    # run-length entropy coding: level 1 alone searches for repetitions, is slower and gains nothing
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    for lines in _filtered(rgb, alpha):
        if packed := packer.compress(lines.data):
            yield packed
    yield packer.flush()


def _filtered(rgb: Pixels, alpha: Alpha) -> Iterator[UInt8[np.ndarray, "_ bytes"]]:
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
