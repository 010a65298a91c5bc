"""The budget parses what people write and never lets a change exceed it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ray_ue.config.recipe import Recipe
from ray_ue.images.quality import deviation
from ray_ue.perturbations.budget import Budget


@pytest.mark.parametrize("text", ["16", "16/255", " 16 / 255 ", "mid", 16, 16.0, "0.0627", 0.0627, 16 / 255])
def test_all_spellings_of_sixteen_levels_are_one_budget(text: str | int | float) -> None:
    assert Budget.parse(text) == Budget(levels=16)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("many", "not a number"),
        ("0", "1 to 127"),
        ("128", "1 to 127"),
        ("-3", "1 to 127"),
        ("0.05", "12/255 or 13/255"),
        ("8.5/255", "8/255 or 9/255"),
        ("nan", "not a number"),
        ("inf", "not a number"),
    ],
)
def test_a_wrong_budget_says_what_would_work(text: str, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        Budget.parse(text)


@given(st.integers(1, 127), st.integers(0, 2**31))
def test_apply_stays_inside_the_budget_and_the_range(levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    delta = rng.integers(-300, 300, (5, 7, 3)).astype(np.int16)
    budget = Budget(levels=levels)
    after = budget.apply(pixels, delta)
    assert deviation(pixels, after) <= levels
    inside = (pixels.astype(int) + delta >= 0) & (pixels.astype(int) + delta <= 255) & (abs(delta) <= levels)
    assert (after.astype(int) - pixels == delta)[inside].all()


def test_quantise_rounds_to_the_nearest_level() -> None:
    assert Budget(levels=8).quantise(np.array([0.4, 0.6, 7.49, 7.51, 30, -30]) / 255).tolist() == [0, 1, 7, 8, 8, -8]


def test_project_clips_to_the_radius() -> None:
    assert Budget(levels=8).project(torch.tensor([1.0, -1.0, 0.01])).tolist() == pytest.approx([8 / 255, -8 / 255, 0.01])


@pytest.mark.usefixtures("unchecked")
def test_deviation_refuses_different_sizes() -> None:
    with pytest.raises(ValueError, match="keep the size"):
        deviation(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8))


def test_strengths_are_budgets_in_order_and_the_default_is_the_middle_one() -> None:
    low, mid, high = (Budget.parse(word).levels for word in ("low", "mid", "high"))
    assert low < mid < high
    assert Recipe().levels().levels == mid
    assert Recipe(budget="high").values(("budget",)) == {"budget": high}, "a word and its number are one copy"
