"""Defenses refuse bad values in one line, and each does to a real poison what its paper says."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import photo
from torch import Tensor, nn

from ray_ue import alters, purify, residuals
from ray_ue.defenses import check, defend
from ray_ue.training import Moment, Training

PHOTOS = np.stack([photo(seed) for seed in range(600)])


def patterns(count: int, *, levels: int, seed: int = 0) -> np.ndarray:
    """Sign patterns with grains of about two pixels, as a generator with a bounded output makes them."""
    noise = np.random.default_rng(seed).normal(size=(count, 32, 32, 3)).astype(np.float32)
    return (levels * np.sign(purify.smooth(noise, 0.7))).astype(np.int16)


def poisoned(deltas: np.ndarray, slots: np.ndarray) -> np.ndarray:
    return np.clip(PHOTOS[: len(slots)] + deltas[slots], 0, 255).astype(np.uint8)


def training(pixels: np.ndarray, labels: np.ndarray) -> Training:
    return Training(pixels=pixels, clean=PHOTOS[: len(pixels)], labels=labels, classes=int(labels.max()) + 1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("spec", "phrase"),
    [
        ("grayscal", r"no defense is called 'grayscal'; did you mean 'grayscale'\? there are at, bits, blur, cutmix"),
        ("jpeg+", "no defense is called ''"),
        ("none:1", "none takes no value, got '1'"),
        ("jpeg:10:2", "jpeg takes JPEG quality, got '10:2'"),
        ("at:4:3:2", "at takes radius in levels and number of steps, got '4:3:2'"),
        ("jpeg:high", "jpeg: the JPEG quality is a number such as 10, got 'high'"),
        ("jpeg:96", "jpeg: the JPEG quality is a whole number from 1 to 95, got 96"),
        ("jpeg:7.5", "jpeg: the JPEG quality is a whole number"),
        ("bits:8", "bits: the number of bits per channel is a whole number from 1 to 7, got 8"),
        ("blur:0", "blur: the sigma in pixels is above 0 and at most 50, got 0"),
        ("noise:inf", "noise: the standard deviation in levels is a number such as 8, got 'inf'"),
        ("cutout:1.5", "cutout: the share of the side is above 0 and at most 1, got 1.5"),
        ("cutmix:-1", "cutmix: the alpha of the Beta distribution is above 0"),
        ("ueraser:hard", "ueraser: the kind is lite or max, got 'hard'"),
        ("at:0", "at: the radius in levels is above 0 and at most 127, got 0"),
        ("at:4:0", "at: the number of steps is a whole number from 1 to 100, got 0"),
        ("early:1", "early: the share of the images is above 0 and at most 0.9, got 1"),
        ("grayscale+subtract:1", "subtract: the number of patterns is a whole number from 2 to 1000, got 1"),
    ],
)
def test_bad_specs_are_refused_without_data(spec: str, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        check(spec)


@pytest.mark.parametrize(
    ("spec", "phrase"),
    [
        ("subtract:20", "20 patterns cannot be guessed from 4 images; ask for fewer"),
        ("early:0.9", "early:0.9 of 4 images leaves none to train on; take a smaller share"),
        ("early:0.25+early", "there is a hold-out already; name early once"),
    ],
)
def test_what_the_data_does_not_allow_is_refused(spec: str, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        defend(spec, training(PHOTOS[:4], np.arange(4)), rng=rng())


def test_parts_work_from_left_to_right() -> None:
    both = defend("grayscale+bits:3", training(PHOTOS[:8], np.arange(8)), rng=rng())
    assert np.array_equal(both.pixels, purify.bits(purify.grayscale(PHOTOS[:8]), 3))
    assert [alter.func for alter in defend("noise:4+cutmix", training(PHOTOS[:8], np.arange(8)), rng=rng()).alters] == [
        alters.noise,
        alters.cutmix,
    ]


def test_grey_is_pillows_grey() -> None:
    from PIL import Image

    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in PHOTOS[:8]])
    assert (purify.grayscale(PHOTOS[:8]) == expected[..., None]).all()


def test_bits_keep_black_and_white_and_only_so_many_levels() -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    found = np.unique(purify.bits(ramp, 2))
    assert found.tolist() == [0, 85, 170, 255]


def test_a_stronger_filter_leaves_less_of_the_noise() -> None:
    noisy = poisoned(patterns(1, levels=8), np.zeros(40, int))
    for weak, strong in ((purify.jpeg(noisy, 80), purify.jpeg(noisy, 10)), (purify.blur(noisy, 0.5), purify.blur(noisy, 2.0))):
        assert strong.astype(float).std() < weak.astype(float).std() < noisy.astype(float).std()


def test_chunks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [purify.jpeg(PHOTOS[:30], 10), purify.blur(PHOTOS[:30], 1.0), purify.grayscale(PHOTOS[:30])]
    monkeypatch.setattr(purify, "VALUES", 7 * 32 * 32 * 3)
    parts = [purify.jpeg(PHOTOS[:30], 10), purify.blur(PHOTOS[:30], 1.0), purify.grayscale(PHOTOS[:30])]
    assert all(np.array_equal(one, other) for one, other in zip(whole, parts))


@pytest.mark.parametrize("sigma", [0.6, 1.0, 3.0])
def test_the_blur_is_torchvisions(sigma: float) -> None:
    from torchvision.transforms.v2.functional import gaussian_blur

    images = PHOTOS[:4, :, :24].astype(np.float32)
    reach = int(np.ceil(3 * sigma))
    expected = gaussian_blur(torch.from_numpy(images).permute(0, 3, 1, 2), [2 * reach + 1] * 2, [sigma] * 2).permute(0, 2, 3, 1)
    np.testing.assert_allclose(purify.smooth(images, sigma), expected, atol=1e-3)


def test_images_smaller_than_the_blur_are_blurred_all_the_same() -> None:
    assert purify.blur(PHOTOS[:2, :8, :8], 5.0).shape == (2, 8, 8, 3)


@pytest.mark.parametrize(("k", "seed"), [(10, 0), (20, 1)])
def test_subtract_finds_and_removes_universal_patterns_whose_clusters_are_unknown(k: int, seed: int) -> None:
    deltas, slots = patterns(10, levels=16), rng(seed).integers(0, 10, 600)
    pixels = poisoned(deltas, slots)
    found = residuals.estimate(pixels, k=k, rng=rng(seed))
    guessed = found.deltas[found.slot_of].reshape(600, -1)
    alike = np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(guessed, deltas[slots].reshape(600, -1))])
    assert alike > 0.85  # 0.96 with k = 10 and 0.94 with k = 20 when written
    left = (residuals.subtract(pixels, found).astype(float) - PHOTOS) ** 2
    assert left.mean() < 0.25 * ((pixels.astype(float) - PHOTOS) ** 2).mean()  # 0.08 and 0.14 when written


def test_mix_adds_one_guessed_pattern_to_each_image() -> None:
    deltas = np.stack([np.full((32, 32, 3), 10.0), np.full((32, 32, 3), -30.0)]).astype(np.float32)
    images = torch.full((64, 3, 24, 24), 0.5)
    found, _ = alters.mix(deltas, images, torch.ones(64, 1), moment(nn.Identity()))
    added = (found - images) * 255
    flat = added.flatten(1)
    assert torch.allclose(flat, flat[:, :1], atol=1e-3)
    assert flat.abs().max() <= 60.001
    assert len(torch.unique((flat[:, 0] * 100).round())) > 32


def moment(net: nn.Module, *, done: float = 0.0, seed: int = 0) -> Moment:
    def loss(images: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(net(images), targets, reduction="none")

    return Moment(loss=loss, rng=rng(seed), done=done)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5)).eval()


def batch() -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(PHOTOS[:40]).permute(0, 3, 1, 2).float() / 255
    return images, F.one_hot(torch.arange(40) % 5, 5).float()


@pytest.mark.parametrize(("levels", "steps"), [(8.0, 10), (2.0, 10), (4.0, 3)])
def test_pgd_raises_the_loss_and_stays_in_its_radius(levels: float, steps: int) -> None:
    net, (images, targets) = small_net(), batch()
    now = moment(net)
    seen, same = alters.adversarial(levels, steps, images, targets, now)
    start = (images + (torch.rand(images.shape) * 2 - 1) * levels / 255).clamp(0, 1)
    assert same is targets
    assert (seen - images).abs().max() <= levels / 255 + 1e-6
    assert ((seen - images).abs().flatten(1).max(1).values > 0.9 * levels / 255).all()
    gain, chance = (now.loss(other, targets).mean() - now.loss(images, targets).mean() for other in (seen, start))
    assert gain > 5 * abs(chance)
    assert all(weight.grad is None for weight in net.parameters())


def test_ueraser_keeps_the_worst_draw_only_early_in_the_training() -> None:
    net, (images, targets) = small_net(), batch()
    found = {}
    for kind, done in (("lite", 0.0), ("max", 0.0), ("max", 0.5)):
        seen, _ = alters.ueraser(kind, images, targets, moment(net, done=done))
        found[kind, done] = float(moment(net).loss(seen, targets).mean().detach())
    assert found["max", 0.0] > found["lite", 0.0]
    assert found["max", 0.5] == found["lite", 0.0]


def test_cutout_covers_a_quarter_or_less() -> None:
    images = torch.zeros(200, 3, 32, 32)
    found, _ = alters.cutout(0.5, images, torch.ones(200, 1), moment(nn.Identity()))
    covered = (found == alters.GREY).float().mean((1, 2, 3))
    assert covered.max() == 0.25
    assert covered.min() >= 0.0625


def test_mixed_labels_follow_the_mixed_pixels() -> None:
    images = torch.zeros(16, 3, 32, 32)
    images[::2] = 1
    targets = F.one_hot(torch.arange(16) % 2, 2).float()
    for alter in (alters.mixup, alters.cutmix):
        for seed in range(5):
            seen, labels = alter(1.0, images, targets, moment(nn.Identity(), seed=seed))
            assert torch.allclose(seen.mean((1, 2, 3)), labels[:, 0], atol=1e-5)


def linear_accuracy(pixels: np.ndarray, labels: np.ndarray) -> float:
    """Of a linear model on held-out published images: what of the labels can be read off linearly."""
    from sklearn.linear_model import RidgeClassifier

    flat = pixels.reshape(len(pixels), -1) / 255
    half = len(pixels) // 2
    return float(RidgeClassifier().fit(flat[:half], labels[:half]).score(flat[half:], labels[half:]))


def test_orthogonal_projection_makes_class_wise_noise_linearly_unreadable() -> None:
    # Labels that say nothing of the photos: all that a linear model reads is the noise.
    labels = rng(1).integers(0, 10, 600)
    given = training(poisoned(patterns(10, levels=8), labels), labels)
    found = defend("orthogonal", given, rng=rng())
    assert linear_accuracy(given.pixels, labels) > 0.9
    assert linear_accuracy(found.pixels, labels) < 0.4  # 0.27 when written
    assert np.abs(found.pixels.astype(int) - given.pixels).mean() < 20  # levels: the picture is still there


def test_early_holds_out_clean_rows_that_leave_the_training_set() -> None:
    marked = PHOTOS.copy()
    marked[:, 0, 0, 0], marked[:, 0, 0, 1] = np.arange(600) // 256, np.arange(600) % 256  # every row tells its number
    labels = np.arange(600) % 7
    given = Training(pixels=marked ^ 0, clean=np.where(np.arange(3) == 2, 255 - marked, marked), labels=labels, classes=7)
    found = defend("early:0.25", given, rng=rng())

    def numbers(pixels: np.ndarray) -> np.ndarray:
        return pixels[:, 0, 0, 0].astype(int) * 256 + pixels[:, 0, 0, 1]

    held, kept = numbers(found.holdout[0]), numbers(found.pixels)
    assert (len(held), len(kept)) == (150, 450)
    assert sorted([*held, *kept]) == list(range(600))
    assert np.array_equal(found.holdout[0], given.clean[held])
    assert np.array_equal(found.holdout[1], labels[held])
    assert np.array_equal(found.labels, labels[kept])
    assert np.array_equal(found.clean, given.clean[kept])


def test_a_batch_may_be_smaller_than_the_images_it_is_cut_from() -> None:
    pixels = np.stack([photo(seed, height=40, width=40) for seed in range(30)])
    given = Training(pixels=pixels, clean=pixels, labels=np.arange(30) % 3, classes=3)
    (alter,) = defend("mix:3", given, rng=rng()).alters
    seen, _ = alter(*batch(), moment(nn.Identity()))
    assert seen.shape == (40, 3, 32, 32)
    assert replace(given, alters=(partial(alters.noise, 3.0),)).alters[0](*batch(), moment(nn.Identity()))[0].shape == (40, 3, 32, 32)
