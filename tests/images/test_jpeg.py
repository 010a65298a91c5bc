"""JPEG as a step: forward the real codec, backward what the codec does to a small change of what it keeps."""

import io

import numpy as np
import pytest
import torch
from images.test_processing import crops
from PIL import Image

from ray_ue.images.jpeg import DCT, RGB, YCC, through_jpeg


def at(quality: int, count: int = 8, *, top: int = 0, left: int = 0) -> dict[str, np.ndarray]:
    return {"qualities": np.full(count, quality), "tops": np.full(count, top), "lefts": np.full(count, left)}


@pytest.mark.parametrize("side", [16, 24, 31])
@pytest.mark.parametrize("quality", [10, 75])
def test_forward_is_the_real_codec(side: int, quality: int) -> None:
    shown = through_jpeg(crops(side), **at(quality))
    for before, after in zip((crops(side) * 255).byte().permute(0, 2, 3, 1).numpy(), shown, strict=True):
        rest = -(-(side + 15) // 16) * 16 - side  # room for blocks that begin anywhere
        framed = np.pad(before, ((0, rest), (0, rest), (0, 0)), "reflect")
        Image.fromarray(framed).save(file := io.BytesIO(), "JPEG", quality=quality)  # Pillow's default is 4:2:0
        assert (np.asarray(Image.open(file))[:side, :side] == (after * 255).round().byte().permute(1, 2, 0).numpy()).all()


def test_the_transform_is_orthonormal_and_the_colours_turn_back() -> None:
    assert torch.allclose(DCT @ DCT.T, torch.eye(8), atol=1e-6)
    assert torch.allclose(RGB @ YCC, torch.eye(3), atol=1e-5)


def slope(images: torch.Tensor, weights: torch.Tensor, **how: np.ndarray) -> torch.Tensor:
    moved = images.clone().requires_grad_()
    return torch.autograd.grad((through_jpeg(moved, **how) * weights).sum(), moved)[0]


def test_coarse_brightness_has_its_whole_slope_and_fine_detail_has_none() -> None:
    images = torch.full((1, 3, 32, 32), 0.9)
    fine = torch.ones((1, 3, 32, 32))
    fine[..., ::2] = -1
    whole = slope(images, torch.ones_like(images), **at(50, 1))
    assert torch.allclose(whole, 3 * YCC[0][:, None, None].expand_as(whole), atol=1e-3), "a grey file shows luma in three channels"
    assert float(slope(images, fine, **at(50, 1)).abs().max()) < 1e-5
    striped = (images + 0.2 * (fine - 1) / 2).clamp(0, 1)
    assert float((slope(striped, fine, **at(90, 1)) * fine).mean()) > 0.5, "stripes that the file keeps do have a slope"


def test_slopes_are_those_of_the_codec_on_a_flat_picture() -> None:
    """Where all that is kept is a block's mean, a change by a level in a block is what a finite difference shows."""
    images = torch.full((1, 3, 32, 32), 153 / 255)
    changed = images.clone()
    changed[:, :, 8:16, 16:24] += 16 / 255
    weights = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    risen = float(((through_jpeg(changed, **at(90, 1)) - through_jpeg(images, **at(90, 1))) * weights).sum())
    told = float(((changed - images) * slope(changed, weights, **at(90, 1))).sum())
    assert told == pytest.approx(risen, rel=0.15)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 0), (5, 15)])
def test_a_place_of_the_blocks_belongs_to_its_image(top: int, left: int) -> None:
    images, weights = crops(), torch.rand((8, 3, 24, 24), generator=torch.Generator().manual_seed(1))
    how = at(40, top=top, left=left)
    others = {**how, "tops": np.array([top, *range(7)]), "lefts": np.array([left, *range(7, 14)])}
    assert torch.equal(through_jpeg(images, **how)[0], through_jpeg(images, **others)[0])
    assert torch.allclose(slope(images, weights, **how)[0], slope(images, weights, **others)[0], atol=1e-6)
