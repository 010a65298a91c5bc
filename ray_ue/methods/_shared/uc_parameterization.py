"""What UC optimises for a slot, and the delta image that it stands for: pixels, a coarse grid of them, or a generator's weights."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ray_ue.loop import generator
from ray_ue.models import uc_generator
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS


@dataclass(frozen=True, kw_only=True)
class Parameterization(ABC):
    """`decay` and `floor` are Adam's weight decay and epsilon for these parameters."""

    decay: float
    floor: float

    @abstractmethod
    def start(self, slots: int, *, side: int, seed: int) -> dict[str, Tensor]:
        """`params` [S, ...], which are optimised, and `latent` [S, ...], which is not."""

    @abstractmethod
    def render(self, params: Tensor, latent: Tensor, *, budget: Budget) -> Float[Tensor, "A 3 h w"]:
        """The deltas of some slots, within the budget, differentiable in `params`."""


@dataclass(frozen=True, kw_only=True)
class PixelParameterization(Parameterization):
    """Radius times tanh of one number per pixel: a smooth box, so no pixel ever loses its gradient."""

    decay: float = 0.0
    floor: float = 1e-12  # a pixel's gradient is far below Adam's usual 1e-8

    def start(self, slots: int, *, side: int, seed: int) -> dict[str, Tensor]:
        draws = [torch.randn((3, side, side), generator=generator(seed, slot, STREAMS["uc/pixels"])) for slot in range(slots)]
        return {"params": 0.1 * torch.stack(draws), "latent": torch.zeros((slots, 0))}

    def render(self, params: Tensor, latent: Tensor, *, budget: Budget) -> Float[Tensor, "A 3 h w"]:
        return budget.radius * params.tanh()


@dataclass(frozen=True, kw_only=True)
class SmoothParameterization(Parameterization):
    """Radius times tanh of `cells` x `cells` numbers a channel, interpolated bicubically to the side and cut off at the budget.

    It has no detail: what JPEG, blur and small sizes take away is not there. It is ours.
    """

    cells: int
    decay: float = 0.0
    floor: float = 1e-12

    def start(self, slots: int, *, side: int, seed: int) -> dict[str, Tensor]:
        if side < self.cells:
            raise ValueError(f"{self.cells} x {self.cells} numbers do not fit into {side} pixels; use a larger image size")
        cells = (3, self.cells, self.cells)
        draws = [torch.randn(cells, generator=generator(seed, slot, STREAMS["uc/smooth"])) for slot in range(slots)]
        return {"params": 0.1 * torch.stack(draws), "latent": torch.zeros((slots, side, 0))}  # which keeps the side alone

    def render(self, params: Tensor, latent: Tensor, *, budget: Budget) -> Float[Tensor, "A 3 h w"]:
        spread = _bicubic(self.cells, latent.shape[1]).to(params)
        return budget.project(budget.radius * (spread @ params.tanh() @ spread.T))


def _bicubic(cells: int, side: int) -> Float[Tensor, "side cells"]:
    """Bicubic interpolation along one axis as a matrix: its slopes need no scattered adds, which GPUs make in any order."""
    return F.interpolate(torch.eye(cells)[None, :, :, None], (side, 1), mode="bicubic")[0, :, :, 0].T


@dataclass(frozen=True, kw_only=True)
class GeneratorParameterization(Parameterization):
    """The UC authors' code: one residual generator per slot on a fixed U(0, 1) latent, hard-clamped to the budget."""

    decay: float = 5e-4
    floor: float = 1e-8

    def start(self, slots: int, *, side: int, seed: int) -> dict[str, Tensor]:
        if side % 4:
            raise ValueError(f"the generator needs a side that is a multiple of 4, got {side}; use parameterization='pixels'")
        return {
            "params": torch.stack([uc_generator.weights(generator(seed, slot, STREAMS["uc/generator"])) for slot in range(slots)]),
            "latent": torch.stack(
                [torch.rand((3, side, side), generator=generator(seed, slot, STREAMS["uc/latent"])) for slot in range(slots)]
            ),
        }

    def render(self, params: Tensor, latent: Tensor, *, budget: Budget) -> Float[Tensor, "A 3 h w"]:
        return budget.project(torch.stack([uc_generator.generate(flat, noise) for flat, noise in zip(params, latent, strict=True)]))


PARAMETERIZATIONS: dict[str, Parameterization] = {
    "pixels": PixelParameterization(),
    "generator": GeneratorParameterization(),
    "smooth4": SmoothParameterization(cells=4),
    "smooth8": SmoothParameterization(cells=8),
    "smooth16": SmoothParameterization(cells=16),
}
