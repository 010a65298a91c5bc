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
from ray_ue.methods.base import View
from ray_ue.ordered import add_rows
from ray_ue.perturbations import pgd
from ray_ue.perturbations.budget import MOST, Budget

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
    """Perturbations, and the two passes over all of them: `descend` moves them by sign steps, `assign` replaces them."""

    view: View
    budget: Budget
    workers: Workers

    @abstractmethod
    def get(self, rows: Rows) -> Images:
        """The stored deltas of this worker's rows, in [0, 1] pixel units, on the device."""

    @abstractmethod
    def added(self, images: Images, rows: Rows) -> Images:
        """This worker's rows with their stored deltas, as a network of the method sees them."""

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
    def lists(self, batches: Batches) -> int:
        """Into how many lists a round divides the batches of this worker; the batches of a list move together."""

    @abstractmethod
    def descend(
        self, batches: Batches, begin: Callable[[Rows], Descent], loss: Loss, *, steps: int, rate: float
    ) -> Iterator[tuple[int, bool]]:
        """A round: begin every batch of this worker, move it by `steps` steps of `rate`, and store what it has reached.

        Yields (lists done, whether the round is) after each list, also when an earlier run has done the last one. What an earlier run of
        the round has done is not done again. The deltas of the round before stay whole until this one is.
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

    def added(self, images: Images, rows: Rows) -> Images:
        return images + self.get(rows)

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

    def lists(self, batches: Batches) -> int:
        return sum(map(len, batches.values()))

    def descend(
        self, batches: Batches, begin: Callable[[Rows], Descent], loss: Loss, *, steps: int, rate: float
    ) -> Iterator[tuple[int, bool]]:
        if (reached := steps * rate) < (finest := self.budget.radius / (2 * MOST)):
            raise ValueError(
                f"{steps} steps of {255 * rate:g} levels move a delta by {255 * reached:g} levels a round, less than {255 * finest:.2g}: "
                "it would be stored as no change at all; take more or larger steps"
            )
        lists = self.lists(batches)
        for number, rows, keep in self._unfinished(batches):
            descent = self.begin(begin(rows))
            for _ in range(steps):
                self.step([descent], loss, rate=rate)
            keep(descent.deltas)
            if number < lists:
                yield number, False
        self._close()
        yield lists, True

    def assign(self, batches: Batches, make: Callable[[Rows], tuple[Images, Images]]) -> None:
        for _, rows, keep in self._unfinished(batches):
            images, deltas = make(rows)
            keep(pgd.project(images, deltas, budget=self.budget))
        self._close()

    def _unfinished(self, batches: Batches) -> Iterator[tuple[int, Rows, Callable[[Images], None]]]:
        """(number from 1, rows, what stores their deltas) of each batch that an earlier run of this round has not stored."""
        self.workers.wait()  # the side that is written now is the one that the last checkpoint replaced
        table, turn, before = self.view.deltas, self.turn + 1, 0
        for key, several in batches.items():
            for place in range(table.marked(turn, key), len(several)):

                def keep(deltas: Images, *, key: int = key, place: int = place, rows: Rows = several[place]) -> None:
                    table.write(turn, rows, deltas)
                    table.mark(turn, key, place + 1)

                yield before + place + 1, several[place], keep
            before += len(several)

    def state(self) -> dict[str, Tensor]:
        return {"turn": torch.tensor(self.turn)}

    def _close(self) -> None:
        self.turn += 1
        self.view.deltas.close(self.turn, self.workers)
        self.workers.wait()


@dataclass(kw_only=True, eq=False)
class PerGroupDeltas(DeltaUpdates):
    """All rows of a slot share a delta, which moves by the mean of their signs. `listed` lists of a round that is not over are done.

    A shared delta takes some images out of [0, 1]: networks see them cut off, as they are published.
    """

    entries: Float[Tensor, "S 3 h w"]
    listed: int

    def get(self, rows: Rows) -> Images:
        return self.entries[self._slots(rows)]

    def added(self, images: Images, rows: Rows) -> Images:
        return (images + self.get(rows)).clamp(0, 1)

    def begin(self, descent: Descent) -> Descent:
        descent.deltas = self.get(descent.rows)
        return descent

    def step(self, descents: Sequence[Descent], loss: Loss, *, rate: float) -> None:
        moves, counts = self._sums((d.rows, pgd.gradient_signs(d.images, self.result(d), loss=partial(loss, d))) for d in descents)
        self.entries = self.budget.project(self.entries - rate * moves / counts)
        for descent in descents:
            descent.deltas = self.get(descent.rows)
            descent.taken += 1

    def result(self, descent: Descent) -> Images:
        return pgd.project(descent.images, descent.deltas, budget=self.budget)

    def lists(self, batches: Batches) -> int:
        """The i-th batches of all pools of all workers move together."""
        longest = torch.zeros(self.workers.world, device=self.entries.device)
        longest[self.workers.rank] = max(map(len, batches.values()), default=0)
        return int(self.workers.all_reduce(longest).max())

    def descend(
        self, batches: Batches, begin: Callable[[Rows], Descent], loss: Loss, *, steps: int, rate: float
    ) -> Iterator[tuple[int, bool]]:
        count, own = self.lists(batches), list(zip_longest(*batches.values()))
        for number in range(self.listed, count):
            descents = [self.begin(begin(rows)) for rows in (own[number] if number < len(own) else ()) if rows is not None]
            for _ in range(steps):
                self.step(descents, loss, rate=rate)
            self.listed = (number + 1) % count
            yield number + 1, number + 1 == count

    def assign(self, batches: Batches, make: Callable[[Rows], tuple[Images, Images]]) -> None:
        """A slot's entry is the mean of its rows' deltas."""
        deltas, counts = self._sums((rows, make(rows)[1].detach()) for pool in batches.values() for rows in pool)
        self.entries = self.budget.project(deltas / counts)

    def state(self) -> dict[str, Tensor]:
        return {"entries": self.entries.detach().cpu().clone(), "listed": torch.tensor(self.listed)}

    def _sums(self, blocks: Iterable[tuple[Rows, Images]]) -> tuple[Float[Tensor, "S 3 h w"], Float[Tensor, "S 1 1 1"]]:
        """Over all workers, the sum of each slot's blocks, and how many rows it has, at least 1."""
        sums, counts = torch.zeros_like(self.entries), torch.zeros(len(self.entries), device=self.entries.device)
        for rows, block in blocks:
            slots = self._slots(rows)
            add_rows(sums, slots, block)
            add_rows(counts, slots, torch.ones(len(rows), device=counts.device))
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
    listed = int(resume["listed"]) if resume else 0
    return PerGroupDeltas(view=view, budget=budget, workers=workers, entries=entries.to(view.surrogate.device), listed=listed)
