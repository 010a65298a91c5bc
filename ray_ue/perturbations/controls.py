"""The controls: random perturbations of a poison's budget, fresh in every image or shared by a group."""

import numpy as np

from ray_ue.perturbations.additive import Additive
from ray_ue.perturbations.budget import Budget
from ray_ue.types import Pixels, Rng

BLOCKS, SIDE = 8, 64  # squares along a side of a random pattern; pixels of its bank


def noise_like(pixels: Pixels, *, budget: Budget, rng: Rng) -> Pixels:
    """The image with fresh uniform noise of up to the budget: spoils as many bytes as a poison does, and repeats in no other image."""
    return budget.apply(pixels, rng.integers(-budget.levels, budget.levels + 1, pixels.shape, dtype=np.int16))


def pattern_per_group(groups: int, *, levels: float, seed: int) -> Additive:
    """A random pattern for each group, with the energy of a poison whose root mean square is `levels`: 8 x 8 squares, plus or minus that
    many levels in each channel. What an optimised pattern must beat, since any pattern that follows the groups can be learnt in place
    of the pictures.
    """
    amount = max(1, round(levels))
    signs = np.random.default_rng([seed, groups]).choice(np.array([-amount, amount], np.int8), (groups, 3, BLOCKS, BLOCKS))
    bank = signs.repeat(SIDE // BLOCKS, 2).repeat(SIDE // BLOCKS, 3)
    return Additive(bank=bank, budget=Budget(levels=amount))
