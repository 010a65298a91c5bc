"""Visibility agrees with its definition."""

import math

import numpy as np
import pytest

from ray_ue.images.quality import compare


def test_no_change_is_infinite_psnr_and_full_similarity() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    seen = compare(image, image, ssim=True)
    assert (seen.most, seen.psnr, seen.ssim) == (0, math.inf, 1.0)


def test_a_uniform_change_has_the_textbook_psnr() -> None:
    image = np.full((16, 16, 3), 100, np.uint8)
    seen = compare(image, image + np.uint8(16), ssim=False)
    assert seen.most == 16
    assert seen.psnr == pytest.approx(20 * math.log10(255 / 16))
    assert math.isnan(seen.ssim)


def test_images_below_the_window_have_no_ssim() -> None:
    image = np.zeros((6, 40, 3), np.uint8)
    assert math.isnan(compare(image, image, ssim=True).ssim)
