"""One-pixel shortcut (OPS; Wu et al., ICLR 2023, arXiv 2205.12141): the pixel and colour that a group's images are farthest from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue.loop import Step, Workers, no_loss
from ray_ue.methods.base import Aimed, Method, View
from ray_ue.perturbations import Pixel, Poison
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable

BLOCK = 16 * 2**20  # bytes of pixels that are read at a time
HELD = 128 * 2**20  # bytes of sums that are held at a time
COLOURS = np.array([[red, green, blue] for red in (0, 1) for green in (0, 1) for blue in (0, 1)])

Sums = Float[np.ndarray, "g h w 3"]


@dataclass(frozen=True, kw_only=True)
class OPS(Method):
    """For each group the pixel and the corner of the colour cube with the largest mean / deviation of |colour - pixel|.

    Mean and deviation go over the images and the three channels; no two groups get the same pixel and colour, which the authors see
    to as well. A group without images takes the first that is left. Sums are of whole numbers, so that any number of workers finds the
    same. The budget does not hold here. Chance plays no part: the seed changes nothing. With an entry per image, each image has its
    group's.
    """

    per = "group"
    keeps_budget = False

    def passes(self, rows: int) -> int:
        return 0

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        """A step finds the pixels of as many groups as the sums have room for."""
        side = view.surrogate.canvas
        if view.groups > 8 * side**2:
            raise ValueError(f"{view.groups:,} groups need as many pixels and colours, but {side} x {side} pixels have {8 * side**2:,}")
        at_once = max(1, HELD // (48 * side**2))
        steps = -(-view.groups // at_once)
        picks = resume["picks"].clone() if resume else torch.zeros(0, dtype=torch.int64)
        for step in range(len(picks) // at_once if len(picks) < view.groups else steps, steps):
            groups = np.arange(step * at_once, min((step + 1) * at_once, view.groups))
            scores = _scores(*_sums(view, groups, workers=workers))
            for score in scores.reshape(len(groups), -1):
                score[picks.numpy()] = -1
                picks = torch.cat([picks, torch.tensor([int(score.argmax())])])
            state = {"picks": picks.clone()}
            if step + 1 == steps:
                state |= {"slots": torch.from_numpy(view.group_of_slot())}
            yield Step(step=step + 1, steps=steps, loss_of=no_loss, images=0, state=lambda state=state: dict(state))

    def poison(self, state: Mapping[str, Tensor], *, deltas: DeltaTable, budget: Budget) -> Poison:
        picks = state["picks"].cpu().numpy()[state["slots"].cpu().numpy()]
        places = np.stack(np.divmod(picks // 8, deltas.side), 1)
        return Pixel(places=places, colours=(255 * COLOURS[picks % 8]).astype(np.uint8), side=deltas.side)


def _sums(view: View, groups: Int[np.ndarray, " g"], *, workers: Workers) -> tuple[Float[np.ndarray, " g"], Sums, Sums]:
    """(images, sums, sums of squares) per group over all workers: whole numbers, exact in float64, of 8-bit values."""
    side = view.surrogate.canvas
    sums = torch.zeros((2, len(groups), side, side, 3), dtype=torch.float64)
    rows = np.flatnonzero((view.group_of >= groups[0]) & (view.group_of <= groups[-1]))
    counts = np.bincount(view.group_of[rows] - groups[0], minlength=len(groups)).astype(np.float64)
    own, size = rows[workers.rank :: workers.world], max(1, BLOCK // (3 * side**2))
    for begin in range(0, len(own), size):
        block = own[begin : begin + size]
        for group in np.unique(view.group_of[block]):
            images = view.pixels[block[view.group_of[block] == group]].astype(np.uint32)
            sums[0, group - groups[0]] += torch.from_numpy(images.sum(0, dtype=np.float64))
            sums[1, group - groups[0]] += torch.from_numpy((images**2).sum(0, dtype=np.float64))
    first, second = workers.all_reduce(sums.to(view.surrogate.device)).cpu().numpy()
    return counts, first, second


def _scores(counts: Float[np.ndarray, " g"], first: Sums, second: Sums) -> Float[np.ndarray, "g h w 8"]:
    """mean / deviation of |colour - pixel| for each pixel and colour; 0 for a group without images."""
    number = np.maximum(counts, 1)[:, None, None, None]
    scores = np.zeros((*first.shape[:3], 8))
    for i, colour in enumerate(COLOURS):
        # |1 - x| = 1 - x and |0 - x| = x, in units of 255
        away = np.where(colour == 1, 255 * number - first, first).sum(3)
        square = np.where(colour == 1, 255**2 * number - 510 * first + second, second).sum(3)
        mean = away / (3 * number[..., 0])
        spread = np.sqrt(np.maximum(square / (3 * number[..., 0]) - mean**2, 0))
        scores[..., i] = mean / np.maximum(spread, 1e-6)  # a pixel that never varies scores highest of all
    return scores * (counts > 0)[:, None, None, None]
