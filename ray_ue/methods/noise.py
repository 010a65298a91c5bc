"""Random noise at the budget, one pattern per slot. Looks at no image."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ray_ue.budget import Budget
from ray_ue.methods.base import Aimed, Method, View
from ray_ue.steps import Step, Workers
from ray_ue.types import Bank


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Method):
    """One uniform random pattern per slot. It is a pattern all the same, so it can be learnt: for a control take `noise_like`."""

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        if resume:
            return
        shape = (len(view.centers), 3, view.surrogate.canvas, view.surrogate.canvas)
        levels = np.random.default_rng([seed, 23]).integers(-budget.levels, budget.levels + 1, shape, dtype=np.int8)
        yield Step(step=1, steps=1, loss=0.0, images=0, state=lambda: {"levels": torch.from_numpy(levels.copy())})

    def bank(self, state: Mapping[str, Tensor], *, budget: Budget) -> Bank:
        return budget.quantise(state["levels"].cpu().numpy() / 255)
