"""PIL: a linear map takes what was subtracted for the group, and a linear victim of real digits loses what noise does not take."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from laws.method_worlds import AIM, BUDGET, World
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from ray_ue.loop import Workers
from ray_ue.methods import PIL, View, build
from ray_ue.methods._shared.sampler import Sampler
from ray_ue.methods.pil import _linear_source
from ray_ue.models.pretrained.surrogates import blank
from ray_ue.perturbations import Poison
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.controls import noise_like
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.storage.artifacts import Folder

TRAIN = 1200


def digits() -> tuple[UInt8[np.ndarray, "n 8 8 3"], np.ndarray]:
    values, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    return np.repeat(np.rint(values.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)[..., None], 3, 3), labels


def protected(pixels: np.ndarray, labels: np.ndarray, *, method: PIL, budget: Budget, home: Path) -> np.ndarray:
    rows, side = pixels.shape[:2]
    view = View(
        pixels=pixels,
        slot_of=np.arange(rows, dtype=np.int32),
        slots=rows,
        group_of=labels.astype(np.int32),
        groups=10,
        centers=np.zeros((10, 2), np.float32),
        surrogate=blank(side, device=torch.device("cpu")),
        deltas=DeltaTable(home=Folder.at(str(home)), rows=rows, side=side, pools=2, budget=budget),
    )
    *_, last = method.craft(view, budget=budget, aim=np.roll(np.arange(10), 1), seed=0, workers=Workers(), resume={})
    poison: Poison = method.poison(last.state(), deltas=view.deltas, budget=budget)
    return np.stack([poison.apply(clean, slot) for slot, clean in enumerate(pixels)])


def test_a_linear_victim_loses_what_noise_does_not_take(tmp_path: Path) -> None:
    """At 32/255: digits are nearly black and white, so that less is seen by no linear model."""
    pixels, labels = digits()
    clean, budget, rng = pixels[:TRAIN], Budget(levels=32), np.random.default_rng(0)

    def accuracy(train: np.ndarray) -> float:
        victim = LogisticRegression(max_iter=1000).fit(train.reshape(TRAIN, -1) / 255, labels[:TRAIN])
        return victim.score(pixels[TRAIN:].reshape(len(pixels) - TRAIN, -1) / 255, labels[TRAIN:])

    noisy = np.stack([noise_like(image, budget=budget, rng=rng) for image in clean])
    assert accuracy(noisy) > accuracy(clean) - 0.02 > 0.85
    assert accuracy(protected(clean, labels[:TRAIN], method=PIL(), budget=budget, home=tmp_path)) < accuracy(noisy) - 0.1


def test_the_map_takes_what_was_subtracted_for_the_group(tmp_path: Path) -> None:
    world = World(name="pil", per="image", home=tmp_path)
    method, view = PIL(batch=16), world.view("a")
    *_, last = method.craft(view, budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={})
    state = last.state()
    shown = world.shown(method.poison(state, deltas=world.deltas("a"), budget=BUDGET))
    source = _linear_source(Sampler(view=view, workers=Workers(), seed=0), resume=state)
    linear, subtracted = source.net["body"], torch.from_numpy(view.pixels.astype(np.float32) - shown).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        assert torch.allclose(linear(-subtracted), -linear(subtracted), atol=1e-6), "there is no bias"
        assert (linear(subtracted).argmax(1).numpy() == view.group_of).mean() > 0.9


def test_without_the_shortcut_the_map_says_less_of_what_is_shown(tmp_path: Path) -> None:
    """With `shortcut=0` only the divergence from uniform is left; it is 0 where f says the same of all groups."""
    world = World(name="pil", per="image", home=tmp_path)
    method = PIL(batch=16, shortcut=0)
    steps = list(method.craft(world.view("a"), budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={}))
    state = steps[-1].state()
    source = _linear_source(Sampler(view=world.view("a"), workers=Workers(), seed=0), resume=state)

    def divergence(pixels: np.ndarray) -> float:
        with torch.no_grad():
            likely = source.net["body"](torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2) / 255).log_softmax(1)
        return float(-(np.log(4) + likely.mean(1)).mean())

    clean, shown = world.view("a").pixels, world.shown(method.poison(state, deltas=world.deltas("a"), budget=BUDGET))
    assert 0 <= divergence(shown) < 0.8 * divergence(np.asarray(clean))


def test_the_cost_and_the_largest_batch_are_those_of_a_pass() -> None:
    assert PIL().passes(50_000) == 60 * 50_000
    assert PIL().peak_batch(300, pools=1) == 300


def test_one_group_is_refused(tmp_path: Path) -> None:
    view = World(name="pil", per="group", home=tmp_path).view("a")
    one = replace(
        view, group_of=np.zeros_like(view.group_of), slot_of=np.zeros_like(view.slot_of), slots=1, groups=1, centers=view.centers[:1]
    )
    with pytest.raises(ValueError, match="there is only 1 group"):
        next(PIL().craft(one, budget=BUDGET, aim=np.array([0]), seed=0, workers=Workers(), resume={}))


@pytest.mark.parametrize("settings", ["epochs=0", "step_share=0", "shortcut=1.5", "learning_rate=-1"])
def test_settings_that_cannot_work_are_refused(settings: str) -> None:
    with pytest.raises(ValueError, match="above zero and a shortcut from 0 to 1"):
        build("pil", {"settings": settings})
