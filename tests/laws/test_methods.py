"""Laws that every method keeps: a full bank, inside the budget, a function of its seed, and a step that can be resumed from."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ray_ue.budget import Budget, deviation
from ray_ue.methods import METHODS, Method, View
from ray_ue.methods.uc import UC
from ray_ue.poisons import Additive
from ray_ue.steps import Workers
from ray_ue.surrogates import Surrogate

SMALL: Mapping[str, Method] = {name: UC(steps=3, batch=8) if name == "uc" else METHODS[name]() for name in METHODS}
BUDGET = Budget(levels=8)
SLOTS, SIDE = 4, 8


def view() -> View:
    rng = np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval().requires_grad_(False)
    half = torch.full((1, 3, 1, 1), 0.5)
    return View(
        pixels=rng.integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8),
        slot_of=(np.arange(20) % SLOTS).astype(np.int32),
        centers=rng.standard_normal((SLOTS, 6)).astype(np.float32),
        surrogate=Surrogate(name="toy", net=net, mean=half, std=half, size=SIDE, canvas=SIDE, width=6),
    )


def finish(name: str, *, seed: int = 0, resume: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    state = dict(resume or {})
    aim = np.roll(np.arange(SLOTS), -1)
    for step in SMALL[name].craft(view(), budget=BUDGET, aim=aim, seed=seed, workers=Workers(), resume=resume or {}):
        state = step.state()
    return state


@pytest.mark.parametrize("name", METHODS)
def test_a_bank_has_one_entry_for_every_slot_within_the_budget(name: str) -> None:
    bank = SMALL[name].bank(finish(name), budget=BUDGET)
    assert bank.dtype == np.int8
    assert bank.shape == (SLOTS, 3, SIDE, SIDE)
    assert np.abs(bank.astype(int)).max() <= BUDGET.levels
    assert (np.abs(bank.astype(int)).max((1, 2, 3)) > 0).all()
    pixels = view().pixels[0]
    assert 0 < deviation(pixels, Additive(bank=bank, budget=BUDGET).apply(pixels, 0)) <= BUDGET.levels


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_bank_and_another_seed_another(name: str) -> None:
    method = SMALL[name]
    one, same, other = (method.bank(finish(name, seed=seed), budget=BUDGET) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize("name", METHODS)
def test_resuming_from_any_step_gives_the_same_state(name: str) -> None:
    straight = finish(name)
    aim = np.roll(np.arange(SLOTS), -1)
    for step in SMALL[name].craft(view(), budget=BUDGET, aim=aim, seed=0, workers=Workers(), resume={}):
        resumed = finish(name, resume=step.state())
        assert straight.keys() == resumed.keys()
        assert all(torch.equal(straight[key], resumed[key]) for key in straight)


@pytest.mark.parametrize("name", METHODS)
def test_steps_count_up_and_states_are_flat_tensors(name: str) -> None:
    aim = np.roll(np.arange(SLOTS), -1)
    steps = list(SMALL[name].craft(view(), budget=BUDGET, aim=aim, seed=0, workers=Workers(), resume={}))
    assert [step.step for step in steps] == list(range(1, steps[0].steps + 1))
    assert all(isinstance(value, Tensor) for value in steps[-1].state().values())
