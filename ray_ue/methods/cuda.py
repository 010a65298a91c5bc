"""Convolution-based unlearnable data (CUDA; Sadasivan et al., CVPR 2023, arXiv 2303.04278): a random blur per group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ray_ue.loop import Step, Workers, no_loss
from ray_ue.methods.base import Aimed, Method, View
from ray_ue.perturbations import Filter, Poison
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.random_streams import STREAMS


@dataclass(frozen=True, kw_only=True)
class CUDA(Method):
    """A `kernel` x `kernel` filter per group for all channels: entries uniform in [0, `blur`], and a random one of them 1.

    The authors' 3 and 0.3 are for CIFAR-10; for ImageNet at 224 pixels they take kernel=9 and blur=0.06. The budget does not hold
    here. With an entry per image, each image has its group's filter.
    """

    per = "group"
    keeps_budget = False
    kernel: int = 3
    blur: float = 0.3

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0 or self.blur < 0:
            raise ValueError(f"CUDA needs an odd kernel and a blur of 0 or more, got {self.kernel} and {self.blur}")

    def passes(self, rows: int) -> int:
        return 0

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        if resume:
            return
        kernels = np.stack([self._kernel(np.random.default_rng([seed, STREAMS["cuda/kernels"], group])) for group in range(view.groups)])
        state = {"kernels": torch.from_numpy(kernels[view.group_of_slot()])}
        yield Step(step=1, steps=1, loss_of=no_loss, images=0, state=lambda: dict(state))

    def poison(self, state: Mapping[str, Tensor], *, deltas: DeltaTable, budget: Budget) -> Poison:
        return Filter(kernels=state["kernels"].cpu().numpy(), side=deltas.side)

    def _kernel(self, rng: np.random.Generator) -> np.ndarray:
        kernel = rng.uniform(0, self.blur, (self.kernel, self.kernel)).astype(np.float32)
        kernel[tuple(rng.integers(self.kernel, size=2))] = 1
        return kernel
