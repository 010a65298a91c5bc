"""Random noise at the budget, one pattern per slot. Looks at no image."""

from dataclasses import dataclass

import numpy as np
import torch

from ray_ue.budget import Budget
from ray_ue.methods.base import View
from ray_ue.methods.drawn import Draw, Drawing, Drawn, Slots

KEY = 23


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Drawn):
    """One uniform random pattern per slot. Shared by a group it is a pattern all the same, so it can be learnt: for a control take one
    per image, or `noise_like`.
    """

    per = "group"
    grouped = False

    def drawn(self, view: View, *, budget: Budget, seed: int) -> Draw:
        shape = (3, view.surrogate.canvas, view.surrogate.canvas)

        def draw(slots: Slots, groups: Slots) -> Drawing:
            streams = (np.random.default_rng([seed, KEY, slot]) for slot in slots.tolist())
            levels = [rng.integers(-budget.levels, budget.levels + 1, shape, dtype=np.int8) for rng in streams]
            return torch.from_numpy(np.stack(levels)).float() / 255

        return draw
