"""How visible a change is: largest step, PSNR and SSIM of one image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import UInt8
from skimage.metrics import structural_similarity

from ray_ue.stripes import stripes
from ray_ue.types import Pixels

SSIM_SIDE, EDGE = 7, 3  # the standard window; smaller images have no SSIM
SSIM_PARTS = 16  # about a million pixels


@dataclass(frozen=True, kw_only=True)
class Visibility:
    """`most` levels; `psnr` in dB (infinite when nothing changed); `ssim` in [-1, 1], nan when not asked for or not defined."""

    most: int
    psnr: float
    ssim: float


def compare(before: UInt8[np.ndarray, "H W 3"], after: UInt8[np.ndarray, "H W 3"], *, ssim: bool) -> Visibility:
    """Measure `after` against `before`; SSIM costs more than a decode, so callers ask for it on a sample."""
    most, squares = 0, 0.0
    for gap in differences(before, after):
        flat = gap.ravel().astype(np.float32)
        squares += float(np.dot(flat, flat))  # one BLAS pass: this runs on every image of an export
        most = max(most, int(gap.max()))
    psnr = float("inf") if squares == 0 else float(10 * np.log10(255**2 / (squares / before.size)))
    similar = similarity(before, after) if ssim and min(before.shape[:2]) >= SSIM_SIDE else float("nan")
    return Visibility(most=most, psnr=psnr, ssim=similar)


def similarity(before: Pixels, after: Pixels) -> float:
    """The mean SSIM of all windows, or, of a picture that has more than `SSIM_PARTS` stripes, of that many spread evenly over it."""
    height, width = before.shape[:2]
    inner = list(stripes(height - 2 * EDGE, width))  # rows around which a window fits; a window reads EDGE more on both sides
    chosen = inner[:: -(-len(inner) // SSIM_PARTS)]
    rows = [rows.stop - rows.start for rows in chosen]
    means = [
        structural_similarity(before[part].astype(np.float32), after[part].astype(np.float32), channel_axis=2, data_range=255)
        for part in (slice(rows.start, rows.stop + 2 * EDGE) for rows in chosen)
    ]
    return float(np.average(cast(list[float], means), weights=rows))


def differences(before: Pixels, after: Pixels) -> Iterator[UInt8[np.ndarray, "_ W 3"]]:
    """The absolute difference in levels, some rows at a time; a `ValueError` if the sizes differ."""
    if before.shape != after.shape:
        raise ValueError(f"cannot compare {before.shape} with {after.shape}: the copy must keep the size")
    for rows in stripes(*before.shape[:2]):
        yield np.maximum(before[rows], after[rows]) - np.minimum(before[rows], after[rows])  # in uint8, without a widening copy


def deviation(before: UInt8[np.ndarray, "H W 3"], after: UInt8[np.ndarray, "H W 3"]) -> int:
    """The largest per-channel difference in levels, measured on decoded bytes."""
    return max(int(gap.max()) for gap in differences(before, after))
