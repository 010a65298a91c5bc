"""Processes on crops of two real photographs: what they do to pixels, that slopes pass, and draws that belong to their image."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from ray_ue.colour import LEAST
from ray_ue.images.processing import PROCESSES, Draws, draw_processes, parse_processes, process


def crops(side: int = 24) -> torch.Tensor:
    """Eight crops of the two photographs that scikit-learn carries, [0, 1]."""
    found = [
        photo[top : top + side, left : left + side] for photo in load_sample_images().images for top in (60, 300) for left in (90, 400)
    ]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255


def drawn(name: str, count: int = 8, seed: int = 0) -> Draws:
    return draw_processes(count, names=(name,), rng=np.random.default_rng(seed))


@pytest.mark.parametrize("name", PROCESSES)
def test_slopes_pass_and_shape_and_range_stay(name: str) -> None:
    images = (crops() * (0.5 if name == "jitter" else 1)).requires_grad_()  # what becomes white has no slope, and a sky might
    shown = process(images, drawn(name))
    assert shown.shape == images.shape
    assert -1e-5 <= float(shown.detach().min()) <= float(shown.detach().max()) <= 1 + 1e-5
    (slope,) = torch.autograd.grad((shown * torch.linspace(1, 2, 24)).sum(), images)
    assert (slope.flatten(1).abs().sum(1) > 0).all()
    assert torch.isfinite(slope).all()


def test_none_is_the_very_same_tensor() -> None:
    images = crops()
    assert process(images, drawn("none")) is images


@pytest.mark.parametrize("name", PROCESSES)
def test_no_images_stay_none(name: str) -> None:
    images = torch.zeros((0, 3, 24, 24), requires_grad=True)
    assert torch.autograd.grad(process(images, drawn(name, 0)).sum(), images)[0].shape == images.shape


def test_part_of_a_batch_is_processed_as_in_the_whole() -> None:
    images, draws = crops(), draw_processes(8, names=parse_processes("none+rrc+flip+jpeg+gray+blur"), rng=np.random.default_rng(1))
    whole = process(images, draws)
    assert len({*draws.which.tolist()}) > 3
    assert torch.allclose(process(images[1::3], draws.of(slice(1, None, 3))), whole[1::3], atol=1e-6)
    wanted = torch.tensor([1, 4, 7])
    assert torch.allclose(process(images[wanted], draws.of(np.isin(np.arange(8), wanted.numpy()))), whole[wanted], atol=1e-6)


def test_a_name_that_stands_twice_is_drawn_twice_as_often() -> None:
    draws = draw_processes(3000, names=parse_processes("none + none + jpeg"), rng=np.random.default_rng(0))
    assert (draws.which == 2).mean() == pytest.approx(1 / 3, abs=0.03)


def test_jpeg_blocks_begin_anywhere() -> None:
    images = crops()[:1].expand(40, -1, -1, -1)
    shown = process(images, drawn("jpeg", 40))
    assert len({image.numpy().tobytes() for image in shown}) > 30
    assert float((shown - images).abs().mean()) < 0.05


def test_gray_has_the_luma_of_pillow() -> None:
    images = crops()
    shown = (process(images, drawn("gray")) * 255).permute(0, 2, 3, 1).numpy()
    for before, after in zip((images * 255).byte().permute(0, 2, 3, 1).numpy(), shown, strict=True):
        assert np.abs(np.asarray(Image.fromarray(before).convert("L"))[..., None] - after).max() < 0.6


def test_blur_keeps_flat_pictures_and_takes_detail_out_of_others() -> None:
    flat = torch.full((8, 3, 20, 24), 0.3)
    assert torch.allclose(process(flat, drawn("blur")), flat, atol=1e-5)
    images = crops()
    shown = process(images, drawn("blur"))
    assert (shown.diff(dim=3).abs().mean((1, 2, 3)) < images.diff(dim=3).abs().mean((1, 2, 3))).all()


def test_a_resized_crop_is_a_part_of_the_picture_that_fills_it() -> None:
    """Of a ramp a part of it: still a ramp, whose ends and slope are those of the part."""
    ramp = torch.linspace(0, 1, 32).expand(400, 3, 32, 32)
    shown = process(ramp, drawn("rrc", 400))
    left, right = shown[:, 0, 0, 1], shown[:, 0, 0, -2]
    assert torch.allclose(shown[:, 0, 0, 1:-1], left[:, None] + (right - left)[:, None] * torch.linspace(0, 1, 30), atol=2e-2)
    shares = (right - left) * 31 / 29
    assert 0.2 < float(shares.min()) < 0.35
    assert 0.95 < float(shares.max()) < 1.05
    assert float(left.min()) < 0.05
    assert float(right.max()) > 0.95


def test_normalised_channels_have_one_mean_and_deviation() -> None:
    given = 0.25 + 0.3 * crops()
    shown = process(given, drawn("picn"))
    assert torch.allclose(shown.mean((2, 3)), torch.full((8, 3), 0.5), atol=0.02)
    varied = given.std((2, 3), correction=0) > LEAST  # a bright sky is as good as flat
    assert 12 < int(varied.sum()) < 24
    assert (shown.std((2, 3), correction=0)[varied] - 0.2).abs().max() < 0.05  # what is 2.5 deviations away is cut off
    flat = process(torch.full((8, 3, 6, 6), 0.3), drawn("picn"))
    assert torch.allclose(flat, torch.full((8, 3, 6, 6), 0.5), atol=1e-3)


def test_jitter_changes_each_picture_in_its_own_way() -> None:
    shown = process(crops()[:1].expand(30, -1, -1, -1), drawn("jitter", 30))
    means = shown.mean((2, 3))
    assert len({tuple(mean.tolist()) for mean in means}) == 30
    assert 0.3 < float(means.mean()) / float(crops()[:1].mean()) < 1.5


def test_unknown_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="no process is called 'jpg'; did you mean 'jpeg'"):
        parse_processes("none+jpg")
