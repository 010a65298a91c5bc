"""What every defense must do."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import photo
from torch import Tensor

from ray_ue.exploiter.dataset import StepContext, Training
from ray_ue.exploiter.defenses.registry import DEFENSES, acts_on_test, defend, parse, prepare_test

SPECS = [name for name in DEFENSES if name not in ("at", "leak", "subtract", "mix")] + [
    "ueraser:max", "at:4", "at:8:3", "jpeg:80", "bits:5", "cutout:0.25", "leak:20", "subtract:4", "mix:4",
    "platform:mastodon", "rrc:0.5", "rsk:4:0.5", "coin:7.5", "pad:0.5", "notch:1", "jpeg:30+jpegcrop:30",
    "grayscale+cutmix", "subtract:4+noise:2", "early+mixup+jpeg", "early+leak:20+highpass",
]  # fmt: skip
CHANCY = [
    "noise",
    "cutout",
    "cutmix",
    "mixup",
    "rrc",
    "pad",
    "jitter",
    "rsk",
    "coin",
    "randaugment",
    "ueraser",
    "ueraser:max",
    "at:4",
    "mix:4",
]
FILTERS = [name for name, defense in DEFENSES.items() if defense.on_test is not None]
CLASSES = 5
PIXELS = np.stack([photo(seed) for seed in range(100)])
LABELS = np.arange(100) % CLASSES


def loss(images: Tensor, targets: Tensor, *, weights: Tensor) -> Tensor:
    return F.cross_entropy(images.flatten(1) @ weights, targets, reduction="none")


def moment(seed: int = 0) -> StepContext:
    weights = torch.randn((3 * 32 * 32, CLASSES), generator=torch.Generator().manual_seed(0)) / 50
    return StepContext(loss=partial(loss, weights=weights), rng=np.random.default_rng(seed), done=0.1)


def training() -> Training:
    """The published images are a read-only view, as of a file; the clean ones differ from them."""
    published = (PIXELS ^ 1).copy()
    published.flags.writeable = False
    return Training(pixels=published, clean=PIXELS, labels=LABELS, classes=CLASSES)


def batch() -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(PIXELS[:32]).permute(0, 3, 1, 2).float() / 255
    return images, F.one_hot(torch.from_numpy(LABELS[:32]), CLASSES).float()


def altered(found: Training, seed: int = 0) -> tuple[Tensor, Tensor]:
    images, targets = batch()
    now = moment(seed)
    for alter in found.alters:
        images, targets = alter(images, targets, now)
    return images, targets


def made(spec: str, seed: int = 0, *, of: Callable[[], Training] = training) -> Training:
    return defend(spec, of(), rng=np.random.default_rng(seed))


def test_every_defense_is_under_test() -> None:
    assert {part.split(":")[0] for spec in SPECS for part in spec.split("+")} == set(DEFENSES)


@pytest.mark.parametrize("name", DEFENSES)
def test_defaults_are_allowed_values_and_every_entry_says_what_it_is(name: str) -> None:
    default = DEFENSES[name].default
    parse(f"{name}:{default}" if default else name)
    assert DEFENSES[name].about


@pytest.mark.parametrize("spec", SPECS)
def test_pixels_keep_their_form_and_what_was_given_stays_as_it_was(spec: str) -> None:
    given = training()
    before = given.pixels.copy()
    found = made(spec, of=lambda: given)
    assert (found.pixels.dtype, found.pixels.shape[1:]) == (np.uint8, (32, 32, 3))
    assert len(found.pixels) + len(found.holdout[1]) == 100
    assert found.classes == CLASSES
    assert np.array_equal(given.pixels, before)
    assert given.alters == ()


@pytest.mark.parametrize("spec", SPECS)
def test_altered_batches_are_images_with_labels_that_sum_to_one(spec: str) -> None:
    images, targets = altered(made(spec))
    assert (images.dtype, images.shape) == (torch.float32, (32, 3, 32, 32))
    assert (targets.dtype, targets.shape) == (torch.float32, (32, CLASSES))
    assert not images.requires_grad
    assert images.min() >= 0
    assert images.max() <= 1
    assert targets.min() >= 0
    assert torch.allclose(targets.sum(1), torch.ones(32))


@pytest.mark.parametrize("spec", ["noise", "cutout", "rrc", "pad", "jitter", "jpegcrop", "rsk", "coin", "mix:4"])
def test_a_batch_without_images_is_no_error(spec: str) -> None:
    """With more workers than images a worker's part of a batch is empty."""
    (alter,) = made(spec).alters
    images, targets = alter(torch.zeros(0, 3, 32, 32), torch.zeros(0, CLASSES), moment())
    assert (images.shape, targets.shape) == ((0, 3, 32, 32), (0, CLASSES))


@pytest.mark.parametrize("spec", SPECS)
def test_batches_are_not_changed_in_place_and_no_global_generator_moves(spec: str) -> None:
    images, targets = batch()
    before = images.clone(), targets.clone()
    found = made(spec)
    state, legacy = torch.get_rng_state(), str(np.random.get_state())
    for alter in found.alters:
        alter(images, targets, moment())
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])
    assert torch.equal(torch.get_rng_state(), state)
    assert str(np.random.get_state()) == legacy


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_seed_gives_the_same_result(spec: str) -> None:
    first, second = made(spec, 3), made(spec, 3)
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.labels, second.labels)
    for one, other in zip(altered(first), altered(second)):
        assert torch.equal(one, other)


@pytest.mark.parametrize("spec", CHANCY)
def test_every_step_draws_anew(spec: str) -> None:
    found = made(spec)
    assert not torch.equal(altered(found, 0)[0], altered(found, 1)[0])


@pytest.mark.parametrize("name", DEFENSES)
def test_only_a_defense_that_says_so_sees_clean_images(name: str) -> None:
    spec = {"leak": "leak:20", "subtract": "subtract:4", "mix": "mix:4"}.get(name, name)
    found = made(spec)
    dark = made(spec, of=lambda: replace(training(), clean=np.zeros_like(PIXELS)))
    seen = not (np.array_equal(found.pixels, dark.pixels) and np.array_equal(found.holdout[0], dark.holdout[0]))
    assert seen == DEFENSES[name].owns_clean


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec != "none"])
def test_every_other_defense_changes_something(spec: str) -> None:
    found = made(spec)
    images, _ = altered(found)
    assert not (np.array_equal(found.pixels, training().pixels) and torch.equal(images, batch()[0]))


def test_none_changes_nothing_at_all() -> None:
    given = training()
    assert made("none", of=lambda: given) is given


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_does_to_test_images_what_it_does_to_training_images(name: str) -> None:
    published, now = training().pixels, moment()
    found = made(name)
    images = torch.from_numpy(found.pixels.astype(np.float32)).permute(0, 3, 1, 2) / 255
    for alter in found.alters:
        images, _ = alter(images, F.one_hot(torch.from_numpy(LABELS), CLASSES).float(), now)
    filtered = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(prepare_test(name, published), filtered)
    assert acts_on_test(name)


@pytest.mark.parametrize("spec", [name for name in DEFENSES if name not in FILTERS])
def test_what_is_random_or_estimated_leaves_test_images_alone(spec: str) -> None:
    assert prepare_test(spec, PIXELS) is PIXELS
    assert not acts_on_test(spec)
    assert acts_on_test(f"{spec}+grayscale")


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_treats_every_image_by_itself(name: str) -> None:
    assert np.array_equal(prepare_test(name, PIXELS)[40:50], prepare_test(name, PIXELS[40:50]))
