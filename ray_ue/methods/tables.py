"""The perturbations that a training method moves by signs: one per image, on disk, or one per group, in memory. Knows no network.

Both are the same on any number of workers: an image's own delta never leaves its worker, and a group's moves by the mean of its
rows' signs, whose sums are whole numbers and so exact in any order (class-wise error minimisation: Huang et al. 2021).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue import pgd
from ray_ue.budget import Budget
from ray_ue.deltas import Deltas
from ray_ue.methods.base import Method, View
from ray_ue.pgd import Objective
from ray_ue.poisons import Additive, Poison, Streamed
from ray_ue.steps import Workers

Rows = Int[np.ndarray, " B"]
Images = Float[Tensor, "B 3 h w"]
# From rows to their images, which the deltas are added to, and to the loss of the perturbed images.
Show = Callable[[Rows], tuple[Images, Objective]]
# From rows and the deltas that are kept for them to those that a descent starts from.
Start = Callable[[Rows, Images], Images]


def kept(rows: Rows, deltas: Images) -> Images:
    """Go on from what was kept."""
    return deltas


@dataclass(kw_only=True, eq=False)
class Table(ABC):
    """`steps` and `rate` (in [0, 1] pixel units) below are of sign descent."""

    view: View
    budget: Budget
    workers: Workers

    @abstractmethod
    def of(self, rows: Rows) -> Images:
        """The deltas of this worker's rows, on the device."""

    @abstractmethod
    def find(self, batches: Sequence[Rows], show: Show, *, steps: int, rate: float, start: Start) -> list[Images]:
        """Descend on some batches at once; returns their deltas. Every worker calls it as often as the others."""

    @abstractmethod
    def settle(self, pooled: Mapping[int, list[Rows]], show: Show, *, steps: int, rate: float, start: Start) -> None:
        """Descend once on all rows of this worker and keep what is found: one round."""

    @abstractmethod
    def put(self, pooled: Mapping[int, list[Rows]], make: Callable[[Rows], tuple[Images, Images]]) -> None:
        """Keep what `make` gives for all rows of this worker: images and their deltas. One round."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the files."""


@dataclass(kw_only=True, eq=False)
class Own(Table):
    """Every image has its own delta. What `find` finds is not kept: methods that use it settle in the end."""

    turn: int

    def of(self, rows: Rows) -> Images:
        return self.view.deltas.read(self.turn, rows).to(self.view.surrogate.device)

    def find(self, batches: Sequence[Rows], show: Show, *, steps: int, rate: float, start: Start) -> list[Images]:
        return [self._descend(rows, show, steps=steps, rate=rate, start=start) for rows in batches]

    def settle(self, pooled: Mapping[int, list[Rows]], show: Show, *, steps: int, rate: float, start: Start) -> None:
        self._round(pooled, lambda rows: self._descend(rows, show, steps=steps, rate=rate, start=start))

    def put(self, pooled: Mapping[int, list[Rows]], make: Callable[[Rows], tuple[Images, Images]]) -> None:
        def inside(rows: Rows) -> Images:
            images, deltas = make(rows)
            return pgd.inside(images, deltas, budget=self.budget)

        self._round(pooled, inside)

    def _round(self, pooled: Mapping[int, list[Rows]], find: Callable[[Rows], Images]) -> None:
        _wait(self.workers, self.view.surrogate.device)  # the side that is written now is the one that the last checkpoint replaced
        for batches in pooled.values():
            for rows in batches:
                self.view.deltas.write(self.turn + 1, rows, find(rows))
        self.turn += 1
        self.view.deltas.close(self.turn, self.workers)
        _wait(self.workers, self.view.surrogate.device)

    def state(self) -> dict[str, Tensor]:
        return {"turn": torch.tensor(self.turn)}

    def _descend(self, rows: Rows, show: Show, *, steps: int, rate: float, start: Start) -> Images:
        images, loss = show(rows)
        begin = pgd.inside(images, start(rows, self.of(rows)), budget=self.budget)
        return pgd.descend(images, begin, loss=loss, steps=steps, rate=rate, budget=self.budget)


@dataclass(kw_only=True, eq=False)
class Shared(Table):
    """All rows of a slot share a delta, which moves by the mean of their signs; where a descent starts is what was kept."""

    entries: Float[Tensor, "S 3 h w"]

    def of(self, rows: Rows) -> Images:
        return self.entries[self._slots(rows)]

    def find(self, batches: Sequence[Rows], show: Show, *, steps: int, rate: float, start: Start) -> list[Images]:
        shown = [show(rows) for rows in batches]
        for _ in range(steps):
            moves, counts = torch.zeros_like(self.entries), torch.zeros(len(self.entries), device=self.entries.device)
            for rows, (images, loss) in zip(batches, shown, strict=True):
                slots = self._slots(rows)
                moves.index_add_(0, slots, pgd.signs(images, self.entries[slots], loss=loss))
                counts.index_add_(0, slots, torch.ones(len(rows), device=counts.device))
            moves, counts = self.workers.total(moves), self.workers.total(counts)
            self.entries = self.budget.project(self.entries - rate * moves / counts.clamp(min=1)[:, None, None, None])
        return [pgd.inside(images, self.of(rows), budget=self.budget) for rows, (images, _) in zip(batches, shown, strict=True)]

    def settle(self, pooled: Mapping[int, list[Rows]], show: Show, *, steps: int, rate: float, start: Start) -> None:
        """In lockstep over the pools of all workers: the i-th batch of every pool moves the entries together."""
        longest = torch.zeros(self.workers.world, device=self.entries.device)
        longest[self.workers.rank] = max(map(len, pooled.values()), default=0)
        turns = int(self.workers.total(longest).max())
        lines = list(zip_longest(*pooled.values())) + [()] * turns
        for line in lines[:turns]:
            self.find([rows for rows in line if rows is not None], show, steps=steps, rate=rate, start=start)

    def put(self, pooled: Mapping[int, list[Rows]], make: Callable[[Rows], tuple[Images, Images]]) -> None:
        """A slot's entry is the mean of its rows' deltas."""
        sums, counts = torch.zeros_like(self.entries), torch.zeros(len(self.entries), device=self.entries.device)
        for rows in (rows for batches in pooled.values() for rows in batches):
            sums.index_add_(0, self._slots(rows), make(rows)[1].detach())
            counts.index_add_(0, self._slots(rows), torch.ones(len(rows), device=counts.device))
        sums, counts = self.workers.total(sums), self.workers.total(counts)
        self.entries = self.budget.project(sums / counts.clamp(min=1)[:, None, None, None])

    def state(self) -> dict[str, Tensor]:
        return {"entries": self.entries.detach().cpu().clone()}

    def _slots(self, rows: Rows) -> Int[Tensor, " B"]:
        return torch.from_numpy(self.view.slot_of[rows].astype(np.int64)).to(self.entries.device)


def open_table(view: View, *, budget: Budget, workers: Workers, resume: Mapping[str, Tensor]) -> Table:
    """The table that suits the view's slots, all zeros at the beginning or as a checkpoint left it."""
    if view.per == "image":
        assert (view.slot_of == np.arange(view.slots)).all(), "with one delta per image, row i of the sample uses slot i"
        return Own(view=view, budget=budget, workers=workers, turn=int(resume["turn"]) if resume else 0)
    side = view.surrogate.canvas
    entries = resume["entries"].clone() if resume else torch.zeros((view.slots, 3, side, side))
    return Shared(view=view, budget=budget, workers=workers, entries=entries.to(view.surrogate.device))


class Tabled(Method):
    """A method that keeps its perturbations in a table."""

    def poison(self, state: Mapping[str, Tensor], *, deltas: Deltas, budget: Budget) -> Poison:
        """What the table's state stands for."""
        if "turn" in state:
            return Streamed(deltas=deltas, turn=int(state["turn"]))
        return Additive(bank=budget.quantise(state["entries"].cpu().numpy()), budget=budget)


class Trained(Tabled):
    """One that trains `network` along."""

    network: str

    @property
    def trains(self) -> str:
        return self.network


def _wait(workers: Workers, device: torch.device) -> None:
    """Until every worker is here."""
    workers.total(torch.zeros(1, device=device))
