"""The base of methods that use no network: an entry of the bank depends on the seed, its slot and its group alone."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue.loop import Step, Workers, no_loss
from ray_ue.methods.base import Aimed, Method, View
from ray_ue.perturbations import Additive, Poison, Streamed
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable

BLOCK = 64 * 2**20  # bytes of float32 deltas that are drawn at a time

Slots = Int[np.ndarray, " n"]
DeltaBlock = Float[Tensor, "n 3 h w"]
# From some slots and their groups to their entries in [0, 1] pixel units; the same whichever slots are asked for together.
SlotSampler = Callable[[Slots, Slots], DeltaBlock]


class SurrogateFreeMethod(Method):
    """One step: with an entry per group every worker draws them all, with one per image a worker draws those of its own pools."""

    @abstractmethod
    def slot_sampler(self, view: View, *, budget: Budget, seed: int) -> SlotSampler:
        """A function that draws the entries of given slots. A `ValueError` if the view does not suit the method."""

    def passes(self, rows: int) -> int:
        return 0

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        if resume:
            return
        draw, groups = self.slot_sampler(view, budget=budget, seed=seed), view.group_of_slot()
        if view.per == "group":
            parts = [budget.quantise(draw(slots, groups[slots]).numpy()) for slots in _blocks(np.arange(view.slots), view)]
            levels = torch.from_numpy(np.concatenate(parts))
            yield Step(step=1, steps=1, loss_of=no_loss, images=0, state=lambda: {"levels": levels.clone()})
            return
        assert (view.slot_of == np.arange(view.slots)).all(), "with one delta per image, row i of the sample uses slot i"
        for pool in view.deltas.owned(workers):
            for rows in _blocks(view.deltas.members(pool), view):
                view.deltas.write(1, rows, draw(rows, groups[rows]))
        view.deltas.close(1, workers)
        workers.wait()  # the step is done when all workers are
        yield Step(step=1, steps=1, loss_of=no_loss, images=0, state=lambda: {"turn": torch.tensor(1)}, saved="must")

    def poison(self, state: Mapping[str, Tensor], *, deltas: DeltaTable, budget: Budget) -> Poison:
        if "turn" in state:
            return Streamed(deltas=deltas, turn=int(state["turn"]))
        return Additive(bank=state["levels"].cpu().numpy(), budget=budget)


def scaled_to(norm: float, deltas: DeltaBlock) -> DeltaBlock:
    """Each delta at an L2 norm of `norm`."""
    lengths = deltas.flatten(1).double().norm(dim=1)  # in float64, so that no rounding depends on how rows are batched
    return (deltas * (norm / lengths.clamp(min=1e-12))[:, None, None, None]).float()


def _blocks(slots: Slots, view: View) -> list[Int[np.ndarray, " _"]]:
    size = max(1, BLOCK // (12 * view.surrogate.canvas**2))
    return [slots[begin : begin + size] for begin in range(0, len(slots), size)]
