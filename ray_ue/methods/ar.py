"""Autoregressive perturbations (AR; Sandoval-Segura et al., NeurIPS 2022, arXiv 2206.03693): pixels that follow from their neighbours."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue.loop import generator
from ray_ue.methods._shared.surrogate_free import DeltaBlock, Slots, SlotSampler, SurrogateFreeMethod, scaled_to
from ray_ue.methods.base import View
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS

CROP = 4  # rows and columns that are left out: they still show the start
SIDE = 32  # the authors' images: norms are theirs there and grow with the side
LOUDEST, TRIALS = 50.0, 3  # a process is stable if the norm of so many patterns stays below
SPARE = 64  # stable processes beyond one per group, to choose from
AT_ONCE = 2048  # processes that are tried at a time, on small images

Processes = Float[Tensor, "n 3 3 3"]


@dataclass(frozen=True, kw_only=True)
class AR(SurrogateFreeMethod):
    """A group has one process of 3 x 3 coefficients per channel; a pattern is it run from normal noise, at an L2 norm of `norm`.

    `norm` is meant at 32 pixels, as the authors' 1.0 is, and grows with the side. Their files of coefficients are not used:
    `processes` draws some. They do not clip; we do, to the budget, which takes some of the norm of a pattern beyond it.
    """

    per = "image"
    norm: float = 1.0

    def __post_init__(self) -> None:
        if self.norm <= 0:
            raise ValueError(f"AR needs a norm above zero, got {self.norm}; the authors' is 1")

    def slot_sampler(self, view: View, *, budget: Budget, seed: int) -> SlotSampler:
        side = view.surrogate.canvas
        coefficients = processes(view.groups, side=side, seed=seed)

        def draw(slots: Slots, groups: Slots) -> DeltaBlock:
            starts = [_start(side + CROP, rng=np.random.default_rng([seed, STREAMS["ar/starts"], slot])) for slot in slots.tolist()]
            patterns = run(coefficients[torch.from_numpy(groups.astype(np.int64))], torch.from_numpy(np.stack(starts)))
            return budget.project(scaled_to(self.norm * side / SIDE, patterns))

        return draw


def processes(groups: int, *, side: int, seed: int) -> Processes:
    """One process per group: stable at `side` pixels, and as unlike each other as a few more than are needed allow.

    As the authors do, the eight coefficients of a channel are normal and divided by their sum, and a process is kept if patterns of it
    stay small. They then keep the first one to whose pattern every earlier process's filter responds with 10 (10 classes) or 3 (100
    classes) at least, which takes ever longer with more groups; this takes the one with the largest such response, over and over.
    """
    rng = generator(seed, STREAMS["ar/processes"])
    small = min(side, SIDE)
    candidates, patterns = torch.zeros(0, 3, 3, 3), torch.zeros(0, 3, small, small)
    while len(candidates) < groups + SPARE:
        more = torch.randn((AT_ONCE, 3, 3, 3), generator=rng)
        more[:, :, 2, 2] = 0
        more /= more.sum((2, 3), keepdim=True)
        kept, stable_patterns = _stable(more, side=small, rng=rng)
        if side > small:  # what is stable on small images may still grow on larger ones
            still = [part[_stable(more[kept[part]], side=side, rng=rng)[0]] for part in torch.arange(len(kept)).split(SPARE)]
            kept, stable_patterns = kept[torch.cat(still)], stable_patterns[torch.cat(still)]
        candidates, patterns = torch.cat([candidates, more[kept]]), torch.cat([patterns, stable_patterns])
    chosen = [0]
    nearest = torch.full((len(candidates),), torch.inf)
    while len(chosen) < groups:
        filters = candidates[chosen[-1:]].clone()
        filters[:, :, 2, 2] = -1
        nearest = torch.minimum(nearest, F.conv2d(patterns, filters).relu().sum((1, 2, 3)))
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return candidates[chosen]


def run(coefficients: Processes, starts: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n 3 h w"]:
    """Each process run over a square whose first two rows and columns are its start; the crop of it.

    A pixel needs only pixels of earlier anti-diagonals, so that a whole diagonal of all patterns is found at once.
    """
    number, side = len(coefficients), starts.shape[-1]
    down, right = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    begun = (down < 2) | (right < 2)
    diagonals = torch.zeros((2 * side - 1, side, 3 * number))
    diagonals[down[begun] + right[begun], down[begun]] = starts.permute(2, 3, 1, 0).reshape(side, side, -1)[begun]
    weights = coefficients.permute(2, 3, 1, 0).reshape(3, 3, -1)
    taps = [(i, j) for i in range(3) for j in range(3) if (i, j) != (2, 2)]
    for at in range(4, 2 * side - 1):
        top, bottom = max(2, at - side + 1), min(side - 1, at - 2) + 1
        for i, j in taps:
            diagonals[at, top:bottom] += weights[i, j] * diagonals[at - (2 - i) - (2 - j), top - (2 - i) : bottom - (2 - i)]
    whole = diagonals[down + right, down].reshape(side, side, 3, number).permute(3, 2, 0, 1)
    return whole[:, :, CROP:, CROP:].contiguous()


def _stable(candidates: Processes, *, side: int, rng: torch.Generator) -> tuple[Int[Tensor, " k"], Float[Tensor, "k 3 h w"]]:
    """Which processes stay small in every trial, and a pattern of each of those at a norm of 1."""
    kept, patterns = torch.arange(len(candidates)), torch.zeros((len(candidates), 3, side, side))
    for _ in range(TRIALS):
        patterns = run(candidates[kept], torch.randn((len(kept), 3, side + CROP, side + CROP), generator=rng))
        small = patterns.flatten(1).norm(dim=1) < LOUDEST * side / SIDE  # what is no number is not below
        kept, patterns = kept[small], patterns[small]
    return kept, scaled_to(1.0, patterns)


def _start(side: int, *, rng: np.random.Generator) -> Float[np.ndarray, "3 side side"]:
    """Normal noise in the first two rows and columns."""
    start = np.zeros((3, side, side), np.float32)
    start[:, :2] = rng.standard_normal((3, 2, side))
    start[:, 2:, :2] = rng.standard_normal((3, side - 2, 2))
    return start
