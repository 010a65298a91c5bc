"""Crops and flips: the fast way to take them out of a resident set gives what the differentiable one gives."""

import numpy as np
import pytest
import torch

from ray_ue.images.augment import Crops, crop, draw_crops, pack_pixels, take_packed
from ray_ue.models.normalization import floats

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 24, 24, 3), dtype=np.uint8)
ROWS = np.array([7, 3, 3, 11, 0, 5, 9, 1, 2])


@pytest.mark.parametrize("size", [24, 16, 23])
@pytest.mark.parametrize("flips", [0.0, 0.5, 1.0])
def test_take_is_crop_of_the_same_draws(size: int, flips: float) -> None:
    crops = draw_crops(len(ROWS), canvas=24, size=size, flips=flips, rng=np.random.default_rng(1))
    assert crops.pad == (3 if size == 24 else 0)
    fast = take_packed(pack_pixels(PIXELS, device=CPU), torch.from_numpy(ROWS), crops)
    assert torch.equal(fast, crop(floats(PIXELS[ROWS], device=CPU), crops))
    assert fast.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [24, 16])
def test_no_images_have_no_crops_and_keep_the_slope(size: int) -> None:
    images = torch.zeros((0, 3, 24, 24), requires_grad=True)
    none = crop(images, draw_crops(0, canvas=24, size=size, flips=0.5, rng=np.random.default_rng(0)))
    assert none.shape == (0, 3, size, size)
    assert torch.autograd.grad(none.sum(), images)[0].shape == images.shape


def test_draws_reach_every_place_and_only_those_inside() -> None:
    crops = draw_crops(2000, canvas=18, size=16, flips=0.25, rng=np.random.default_rng(2))
    assert {*crops.top.tolist()} == {*crops.left.tolist()} == {0, 1, 2}
    assert 0.2 < crops.flip.mean() < 0.3
    padded = draw_crops(2000, canvas=16, size=16, flips=0.0, rng=np.random.default_rng(2))
    assert {*padded.top.tolist()} == set(range(5)), "two mirrored pixels on either side"
    assert not padded.flip.any()


def test_a_mirrored_border_does_not_repeat_the_edge_and_a_flip_turns_left_and_right() -> None:
    row = np.arange(8, dtype=np.uint8)
    picture = pack_pixels(np.broadcast_to(row[None, None, :, None], (1, 8, 8, 3)).copy(), device=CPU)
    corner = Crops(top=np.array([0]), left=np.array([0]), flip=np.array([False]), pad=1, size=8)
    assert (take_packed(picture, torch.tensor([0]), corner)[0, 0, 0] * 255).round().tolist() == [1, 0, 1, 2, 3, 4, 5, 6]
    turned = Crops(top=np.array([0]), left=np.array([0]), flip=np.array([True]), pad=1, size=8)
    assert (take_packed(picture, torch.tensor([0]), turned)[0, 0, 0] * 255).round().tolist() == [6, 5, 4, 3, 2, 1, 0, 1]


def test_some_draws_of_a_batch_stay_the_same_draws() -> None:
    crops = draw_crops(9, canvas=24, size=16, flips=0.5, rng=np.random.default_rng(3))
    images = floats(PIXELS[ROWS], device=CPU)
    assert torch.equal(crop(images, crops)[2:5], crop(images[2:5], crops.of(slice(2, 5))))
