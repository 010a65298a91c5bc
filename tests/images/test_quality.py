"""Visibility agrees with its definition."""

import math
from functools import partial

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from ray_ue.images import quality
from ray_ue.images.quality import SSIM_PARTS, compare, similarity
from ray_ue.stripes import stripes


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


@pytest.mark.parametrize(("height", "width"), [(700, 301), (90, 4000), (7, 9)])
def test_what_is_measured_in_stripes_is_what_the_whole_has(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(0, 240, (height, width, 3), dtype=np.uint8)
    after = before + rng.integers(0, 9, before.shape, dtype=np.uint8)
    seen, error = compare(before, after, ssim=True), ((after.astype(float) - before) ** 2).mean()
    assert seen.most == 8
    assert seen.psnr == pytest.approx(10 * math.log10(255**2 / error))
    assert seen.ssim == pytest.approx(structural_similarity(before, after, channel_axis=2, data_range=255))


def test_similarity_of_a_large_picture_is_that_of_stripes_all_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    height, width = 3 * SSIM_PARTS, 256
    monkeypatch.setattr(quality, "stripes", partial(stripes, pixels=width))  # a line is a stripe
    before = np.random.default_rng(0).integers(0, 200, (height, width, 3), dtype=np.uint8)
    after = before.copy()
    after[height // 2 :] += np.random.default_rng(1).integers(0, 50, after[height // 2 :].shape, dtype=np.uint8)
    whole = structural_similarity(before, after, channel_axis=2, data_range=255)
    assert similarity(before, after) == pytest.approx(whole, abs=0.05)
