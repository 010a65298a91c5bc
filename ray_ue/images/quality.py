"""How visible a change is: largest step, PSNR and SSIM of one image."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import UInt8
from skimage.metrics import structural_similarity

SSIM_SIDE = 7  # the standard window; smaller images have no SSIM


@dataclass(frozen=True, kw_only=True)
class Visibility:
    """`most` levels; `psnr` in dB (infinite when nothing changed); `ssim` in [-1, 1], nan when not asked for or not defined."""

    most: int
    psnr: float
    ssim: float


def compare(before: UInt8[np.ndarray, "H W 3"], after: UInt8[np.ndarray, "H W 3"], *, ssim: bool) -> Visibility:
    """Measure `after` against `before`; SSIM costs more than a decode, so callers ask for it on a sample."""
    gap = difference(before, after)
    flat = gap.ravel().astype(np.float32)
    error = float(np.dot(flat, flat)) / flat.size  # one BLAS pass: this runs on every image of an export
    psnr = float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
    measured = float("nan")
    if ssim and min(before.shape[:2]) >= SSIM_SIDE:
        measured = float(cast(float, structural_similarity(before, after, channel_axis=2, data_range=255)))
    return Visibility(most=int(gap.max()), psnr=psnr, ssim=measured)


def difference(before: UInt8[np.ndarray, "H W 3"], after: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """The absolute difference in levels; a `ValueError` if the sizes differ."""
    if before.shape != after.shape:
        raise ValueError(f"cannot compare {before.shape} with {after.shape}: the copy must keep the size")
    return np.maximum(before, after) - np.minimum(before, after)  # in uint8, without a widening copy


def deviation(before: UInt8[np.ndarray, "H W 3"], after: UInt8[np.ndarray, "H W 3"]) -> int:
    """The largest per-channel difference in levels, measured on decoded bytes."""
    return int(difference(before, after).max())
