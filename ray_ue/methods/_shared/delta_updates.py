"""The perturbations that a method moves by sign steps: one per image, on disk, or one per group, in memory.

Both are the same on any number of workers: an image's own delta never leaves its worker, and a group's moves by the mean of its
rows' signs, whose sums are whole numbers and so exact in any order (class-wise error minimisation: Huang et al. 2021).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue.loop import Workers
from ray_ue.methods._shared.batch_rng import BatchRng, Images, Rows
from ray_ue.methods.base import Method, View
from ray_ue.perturbations import Additive, Poison, Streamed, pgd
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable

Batches = Mapping[int, list[Rows]]  # pool -> its rows, each once


@dataclass(kw_only=True, eq=False)
class Descent:
    """A batch of rows on its way down a loss. `deltas` (in [0, 1] pixel units) are added to `images`, and `taken` counts the steps.

    `start` makes the first deltas from the stored ones; deltas that rows share always start from the stored ones.
    """

    rows: Rows
    images: Images
    targets: list[Int[Tensor, " B"]]
    stream: BatchRng
    start: Callable[[Images], Images] = lambda stored: stored
    deltas: Images = field(init=False)
    taken: int = 0


Loss = Callable[[Descent, Images], Float[Tensor, ""]]  # a batch and its perturbed images -> one number


@dataclass(kw_only=True, eq=False)
class DeltaUpdates(ABC):
    """One pass of sign descent over all perturbations is `for batches in deltas.round(...): for _ in range(steps): deltas.step(...)`."""

    view: View
    budget: Budget
    workers: Workers

    @abstractmethod
    def get(self, rows: Rows) -> Images:
        """The stored deltas of this worker's rows, in [0, 1] pixel units, on the device."""

    @abstractmethod
    def begin(self, descent: Descent) -> Descent:
        """Set the deltas that a descent starts from."""

    @abstractmethod
    def step(self, descents: Sequence[Descent], loss: Loss, *, rate: float) -> None:
        """Move the deltas by `rate` (in [0, 1] pixel units) against the sign of the loss's slope. Every worker calls it as often."""

    @abstractmethod
    def result(self, descent: Descent) -> Images:
        """The deltas that a descent has reached, within the budget and such that the images stay in [0, 1]."""

    @abstractmethod
    def round(self, batches: Batches, begin: Callable[[Rows], Descent]) -> Iterator[list[Descent]]:
        """All batches of this worker, begun, in lists of those that move together; what they have reached is stored afterwards.

        Every worker gets as many lists. The deltas of the round before stay whole until this one is.
        """

    @abstractmethod
    def assign(self, batches: Batches, make: Callable[[Rows], tuple[Images, Images]]) -> None:
        """Store what `make` gives for all rows of this worker: images and their deltas. It is a round."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The tensors that a checkpoint keeps; per-image deltas themselves are in files."""


@dataclass(kw_only=True, eq=False)
class PerImageDeltas(DeltaUpdates):
    """Every image has its own delta, in a table on disk."""

    turn: int

    def get(self, rows: Rows) -> Images:
        return self.view.deltas.read(self.turn, rows).to(self.view.surrogate.device)

    def begin(self, descent: Descent) -> Descent:
        descent.deltas = pgd.project(descent.images, descent.start(self.get(descent.rows)), budget=self.budget)
        return descent

    def step(self, descents: Sequence[Descent], loss: Loss, *, rate: float) -> None:
        for descent in descents:
            signs = pgd.gradient_signs(descent.images, descent.deltas, loss=partial(loss, descent))
            descent.deltas = pgd.project(descent.images, descent.deltas - rate * signs, budget=self.budget)
            descent.taken += 1

    def result(self, descent: Descent) -> Images:
        return descent.deltas

    def round(self, batches: Batches, begin: Callable[[Rows], Descent]) -> Iterator[list[Descent]]:
        self._wait()  # the side that is written now is the one that the last checkpoint replaced
        for rows in (rows for pool in batches.values() for rows in pool):
            descent = self.begin(begin(rows))
            yield [descent]
            self.view.deltas.write(self.turn + 1, rows, descent.deltas)
        self._close()

    def assign(self, batches: Batches, make: Callable[[Rows], tuple[Images, Images]]) -> None:
        self._wait()
        for rows in (rows for pool in batches.values() for rows in pool):
            images, deltas = make(rows)
            self.view.deltas.write(self.turn + 1, rows, pgd.project(images, deltas, budget=self.budget))
        self._close()

    def state(self) -> dict[str, Tensor]:
        return {"turn": torch.tensor(self.turn)}

    def _close(self) -> None:
        self.turn += 1
        self.view.deltas.close(self.turn, self.workers)
        self._wait()

    def _wait(self) -> None:
        """Wait until every worker has arrived."""
        self.workers.all_reduce(torch.zeros(1, device=self.view.surrogate.device))


@dataclass(kw_only=True, eq=False)
class PerGroupDeltas(DeltaUpdates):
    """All rows of a slot share a delta, which moves by the mean of their signs and is stored with every step."""

    entries: Float[Tensor, "S 3 h w"]

    def get(self, rows: Rows) -> Images:
        return self.entries[self._slots(rows)]

    def begin(self, descent: Descent) -> Descent:
        descent.deltas = self.get(descent.rows)
        return descent

    def step(self, descents: Sequence[Descent], loss: Loss, *, rate: float) -> None:
        moves, counts = self._sums((d.rows, pgd.gradient_signs(d.images, d.deltas, loss=partial(loss, d))) for d in descents)
        self.entries = self.budget.project(self.entries - rate * moves / counts)
        for descent in descents:
            descent.deltas = self.get(descent.rows)
            descent.taken += 1

    def result(self, descent: Descent) -> Images:
        return pgd.project(descent.images, descent.deltas, budget=self.budget)

    def round(self, batches: Batches, begin: Callable[[Rows], Descent]) -> Iterator[list[Descent]]:
        """The i-th batches of all pools of all workers move together."""
        longest = torch.zeros(self.workers.world, device=self.entries.device)
        longest[self.workers.rank] = max(map(len, batches.values()), default=0)
        count = int(self.workers.all_reduce(longest).max())
        lists = list(zip_longest(*batches.values()))
        for together in lists + [()] * (count - len(lists)):
            yield [self.begin(begin(rows)) for rows in together if rows is not None]

    def assign(self, batches: Batches, make: Callable[[Rows], tuple[Images, Images]]) -> None:
        """A slot's entry is the mean of its rows' deltas."""
        deltas, counts = self._sums((rows, make(rows)[1].detach()) for pool in batches.values() for rows in pool)
        self.entries = self.budget.project(deltas / counts)

    def state(self) -> dict[str, Tensor]:
        return {"entries": self.entries.detach().cpu().clone()}

    def _sums(self, blocks: Iterable[tuple[Rows, Images]]) -> tuple[Float[Tensor, "S 3 h w"], Float[Tensor, "S 1 1 1"]]:
        """Over all workers, the sum of each slot's blocks, and how many rows it has, at least 1."""
        sums, counts = torch.zeros_like(self.entries), torch.zeros(len(self.entries), device=self.entries.device)
        for rows, block in blocks:
            slots = self._slots(rows)
            sums.index_add_(0, slots, block)
            counts.index_add_(0, slots, torch.ones(len(rows), device=counts.device))
        sums, counts = self.workers.all_reduce(sums), self.workers.all_reduce(counts)
        return sums, counts.clamp(min=1)[:, None, None, None]

    def _slots(self, rows: Rows) -> Int[Tensor, " B"]:
        return torch.from_numpy(self.view.slot_of[rows].astype(np.int64)).to(self.entries.device)


def open_deltas(view: View, *, budget: Budget, workers: Workers, resume: Mapping[str, Tensor]) -> DeltaUpdates:
    """Deltas per image or per group, as the view's slots say; zeros at the start, or as a checkpoint left them."""
    if view.per == "image":
        assert (view.slot_of == np.arange(view.slots)).all(), "with one delta per image, row i of the sample uses slot i"
        return PerImageDeltas(view=view, budget=budget, workers=workers, turn=int(resume["turn"]) if resume else 0)
    side = view.surrogate.canvas
    entries = resume["entries"].clone() if resume else torch.zeros((view.slots, 3, side, side))
    return PerGroupDeltas(view=view, budget=budget, workers=workers, entries=entries.to(view.surrogate.device))


class DeltaMethod(Method):
    """A method that moves its perturbations by `DeltaUpdates`."""

    def poison(self, state: Mapping[str, Tensor], *, deltas: DeltaTable, budget: Budget) -> Poison:
        """What the state of the deltas stands for."""
        if "turn" in state:
            return Streamed(deltas=deltas, turn=int(state["turn"]))
        return Additive(bank=budget.quantise(state["entries"].cpu().numpy()), budget=budget)


class NetworkMethod(DeltaMethod):
    """One that trains `network` along."""

    network: str

    @property
    def source_arch(self) -> str:
        return self.network
