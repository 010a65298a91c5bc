"""The noise control: random perturbations of a poison's budget that teach nothing."""

import numpy as np

from ray_ue.perturbations.budget import Budget
from ray_ue.types import Pixels, Rng


def noise_like(pixels: Pixels, *, budget: Budget, rng: Rng) -> Pixels:
    """The image with fresh uniform noise of up to the budget: spoils as many bytes as a poison does, and repeats in no other image."""
    return budget.apply(pixels, rng.integers(-budget.levels, budget.levels + 1, pixels.shape, dtype=np.int16))
