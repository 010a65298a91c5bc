"""Random noise at the budget, one pattern per slot. Looks at no image."""

from dataclasses import dataclass

import numpy as np
import torch

from ray_ue.methods._shared.surrogate_free import DeltaBlock, Slots, SlotSampler, SurrogateFreeMethod
from ray_ue.methods.base import View
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS


@dataclass(frozen=True, kw_only=True)
class RandomNoise(SurrogateFreeMethod):
    """One uniform random pattern per slot. Shared by a group it is a pattern all the same, so it can be learnt: for a control take one
    per image, or `noise_like`.
    """

    per = "group"
    uses_groups = False

    def slot_sampler(self, view: View, *, budget: Budget, seed: int) -> SlotSampler:
        shape = (3, view.surrogate.canvas, view.surrogate.canvas)

        def draw(slots: Slots, groups: Slots) -> DeltaBlock:
            streams = (np.random.default_rng([seed, STREAMS["noise/slots"], slot]) for slot in slots.tolist())
            levels = [rng.integers(-budget.levels, budget.levels + 1, shape, dtype=np.int8) for rng in streams]
            return torch.from_numpy(np.stack(levels)).float() / 255

        return draw
