"""The noise control: within budget, spread over all of it, and new for every image."""

import numpy as np

from ray_ue.images.quality import deviation
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.controls import noise_like

BUDGET = Budget(levels=8)
GREY = np.full((40, 50, 3), 128, np.uint8)


def test_noise_fills_the_budget_evenly() -> None:
    change = noise_like(GREY, budget=BUDGET, rng=np.random.default_rng(0)).astype(int) - 128
    values, counts = np.unique(change, return_counts=True)
    assert values.tolist() == list(range(-8, 9))
    assert counts.min() > 0.7 * counts.mean()
    assert deviation(GREY, GREY + change.astype(np.uint8)) == 8


def test_noise_is_new_for_every_image_and_a_function_of_its_generator() -> None:
    rng = np.random.default_rng(1)
    first, second = noise_like(GREY, budget=BUDGET, rng=rng), noise_like(GREY, budget=BUDGET, rng=rng)
    assert (first != second).mean() > 0.8
    assert (noise_like(GREY, budget=BUDGET, rng=np.random.default_rng(1)) == first).all()
