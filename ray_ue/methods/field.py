"""A smooth field of colour per group, as large as the picture: a pattern that is ours, and needs no crafting."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int

from ray_ue.methods._shared.far_apart import CANDIDATES, far_apart
from ray_ue.methods._shared.surrogate_free import DeltaBlock, Slots, SlotSampler, SurrogateFreeMethod
from ray_ue.methods.base import View
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS
from ray_ue.types import Rng

GREY = 1 / 3  # the share of the energy of three random signs that is their mean

Codes = Int[np.ndarray, "_ cells cells 3"]
Colours = Float[np.ndarray, "_ cells cells 3"]


@dataclass(frozen=True, kw_only=True)
class Field(SurrogateFreeMethod):
    """`grid` x `grid` random signs per channel, interpolated bicubically to the canvas, times the budget, and cut off at it.

    `luma`, from 0 to 1, is the expected share of brightness in the mean square of the grid's values: at a third they are signs, less
    takes brightness out and more takes colour out. Groups keep away from each other and from each other's mirror image. As every entry
    of a bank, a field is scaled to a picture's shorter side and mirrored along the longer one. With an entry per image, each image has
    its group's field.
    """

    per = "group"
    grid: int = 4
    luma: float = GREY

    def __post_init__(self) -> None:
        if self.grid < 1 or not 0 <= self.luma <= 1:
            raise ValueError(f"field needs a grid of 1 or more and a luma from 0 to 1, got {self.grid} and {self.luma:g}")

    def slot_sampler(self, view: View, *, budget: Budget, seed: int) -> SlotSampler:
        side = view.surrogate.canvas
        if side < self.grid:
            raise ValueError(f"a grid of {self.grid} does not fit into {side} pixels; --settings grid={side} or fewer")
        if view.groups > (most := _count(self.grid)):
            raise ValueError(f"{view.groups:,} groups need as many fields, but a grid of {self.grid} has {most:,}; use a larger grid")
        rng = np.random.default_rng([seed, STREAMS["field/codes"]])
        codes = far_apart(view.groups, draw=lambda: _draw(self.grid, rng=rng), nearest=self._nearest)
        grids = torch.from_numpy(self._colours(codes)).float().permute(0, 3, 1, 2)

        def draw(slots: Slots, groups: Slots) -> DeltaBlock:
            fields = F.interpolate(grids[torch.from_numpy(groups)], (side, side), mode="bicubic")
            return budget.project(budget.radius * fields)

        return draw

    def _colours(self, codes: Codes) -> Colours:
        """The grid's values, with a mean square of 1 for random signs."""
        grey = codes.mean(3, keepdims=True)
        return (self.luma / GREY) ** 0.5 * grey + ((1 - self.luma) / (1 - GREY)) ** 0.5 * (codes - grey)

    def _nearest(self, candidates: Codes, before: Codes) -> Float[np.ndarray, " _"]:
        """The squared distance from the nearest of `before` or of their mirror images; of signs, four times the Hamming distance."""
        first, second = (self._colours(codes) for codes in (candidates, before))
        others = np.concatenate([second, second[:, :, ::-1]]).reshape(-1, first[0].size)
        flat = first.reshape(len(first), -1)
        distances = (flat**2).sum(1)[:, None] + (others**2).sum(1) - 2 * flat @ others.T
        return distances.min(1).round(9)  # so that no last bit decides between equals


def _count(grid: int) -> int:
    """How many codes have colour in at least one cell."""
    cells = grid**2
    return 8**cells - 2**cells


def _draw(grid: int, *, rng: Rng) -> Codes:
    """Random signs; codes that are grey in every cell are left out, since they would be nothing without brightness."""
    codes = rng.integers(0, 2, (CANDIDATES, grid, grid, 3)) * 2 - 1
    return codes[(codes != codes[..., :1]).any((1, 2, 3))]
