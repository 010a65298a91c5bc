"""Robust error minimisation (REM; Fu et al. 2022, arXiv 2203.14533) and its stable form (SEM; Liu et al. 2024, arXiv 2311.13091).

Error minimisation against a network that is itself trained on adversarial images, so that adversarial training does not undo it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_ue import pgd
from ray_ue.augment import crop
from ray_ue.budget import Budget
from ray_ue.methods.base import Aimed, View
from ray_ue.methods.batches import Batches, Images, Mean, Rows, largest
from ray_ue.methods.draws import Draws
from ray_ue.methods.source import Source, check_network
from ray_ue.methods.tables import Show, Start, Table, Trained, open_table
from ray_ue.pgd import Objective
from ray_ue.steps import Step, Workers
from ray_ue.types import pick

DROPS, DROP = 2000, 0.1  # the learning rate falls to a tenth after so many steps
FINAL = 512  # images of a batch when the finished network makes all perturbations
DrawsOf = Callable[[Rows], Draws]
INNER = {"pgd": "an adversary's steps (REM)", "uniform": "one uniform draw (SEM)"}


@dataclass(frozen=True, kw_only=True)
class REM(Trained):
    """`trained` steps, each on a fresh perturbation of its batch: `steps` of `step` levels that lower the loss under `draws` crops, each
    of which an adversary within `radius` levels has raised by `inner`. In the end the network makes every image's perturbation anew.
    """

    per = "image"
    several = True
    trained: int = 5000
    batch: int = 128
    steps: int = 10
    step: float = 1.6
    radius: float = 4.0
    adversary_steps: int = 10
    adversary_step: float = 0.8
    draws: int = 5
    inner: str = "pgd"
    network: str = "resnet18"
    learning_rate: float = 0.1
    decay: float = 5e-4

    def __post_init__(self) -> None:
        check_network(self.network)
        pick(INNER, self.inner, what="inner adversary")
        least = min(self.trained, self.batch, self.steps, self.adversary_steps, self.draws)
        if least < 1 or min(self.step, self.radius, self.adversary_step, self.learning_rate) <= 0:
            raise ValueError(f"REM and SEM need steps, draws, batch, radius and rates above zero, got {self}")

    def together(self, rows: int, *, pools: int) -> int:
        """The slopes of a batch pass through all its draws at once."""
        return max(min(self.batch, rows), largest(rows, pools=pools, batch=FINAL)) * self.draws

    def passes(self, rows: int) -> int:
        made = self.steps * self.draws * (1 + (self.adversary_steps if self.inner == "pgd" else 0))
        return self.trained * min(self.batch, rows) * (made + self.adversary_steps + 1) + rows * made

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        table = open_table(view, budget=budget, workers=workers, resume=resume)
        batches = Batches(view=view, workers=workers, seed=seed)
        source = Source.fresh(self.network, view=view, decay=self.decay, seed=seed, workers=workers, resume=resume)
        cost = self.passes(len(view.pixels)) / (self.trained + 1)
        for step in range(int(resume["step"]) if resume else 0, self.trained + 1):
            if step < self.trained:
                loss = self._learn(source, table, batches, step, budget=budget)
            else:
                loss = self._finish(source, table, batches, budget=budget)
            done = {"step": torch.tensor(step + 1)}
            yield Step(
                step=step + 1,
                steps=self.trained + 1,
                loss=loss,
                images=round((step + 1) * cost),
                state=lambda done=done: source.state() | table.state() | done,
                saved="must" if step == self.trained else "may",
            )

    def _learn(self, source: Source, table: Table, batches: Batches, step: int, *, budget: Budget) -> float:
        """Perturb a batch downhill, then uphill, and train on it."""
        whole = -(-len(batches.view.pixels) // self.batch)
        rows = batches.training(step // whole, batch=self.batch)[step % whole]
        mine = batches.mine(rows)
        draws = batches.part(67, step, rows=rows)
        source.still()
        start, show = _uniform(lambda rows: draws, budget=budget), self._show(source, batches, Mean(), lambda rows: draws)
        (deltas,) = table.find([mine], show, steps=self.steps, rate=self.step / 255, start=start)
        targets = batches.targets(mine)
        seen = crop(batches.images(mine) + deltas.detach(), draws.crops(deltas.shape[-1]))
        hard = self._harden(seen, lambda moved: source.entropy(moved, targets), draws=draws, inner="pgd")
        source.awake()
        rate = self.learning_rate * DROP ** (step // DROPS)
        return source.learn(hard, targets, rows=len(rows), rate=rate)

    def _finish(self, source: Source, table: Table, batches: Batches, *, budget: Budget) -> float:
        source.still()
        mean = Mean()
        start = _uniform(lambda rows: batches.whole(71, rows=rows), budget=budget)
        show = self._show(source, batches, mean, lambda rows: batches.whole(73, rows=rows))
        pooled = batches.pooled(0, batch=FINAL)
        table.settle(pooled, show, steps=self.steps, rate=self.step / 255, start=start)
        return mean.over(batches.workers, device=batches.view.surrogate.device)

    def _show(self, source: Source, batches: Batches, mean: Mean, draws_of: DrawsOf) -> Show:
        def show(rows: Rows) -> tuple[Images, Objective]:
            targets, draws = batches.targets(rows), draws_of(rows)

            def loss(moved: Images) -> Tensor:
                values = []
                for _ in range(self.draws):
                    seen = crop(moved, draws.crops(moved.shape[-1]))
                    hard = self._harden(seen.detach(), lambda shown: source.entropy(shown, targets), draws=draws, inner=self.inner)
                    values.append(source.entropy(seen + (hard - seen.detach()), targets))
                value = torch.stack(values).mean()
                mean.add(value.detach() / max(len(rows), 1), len(rows))
                return value

            return batches.images(rows), loss

        return show

    def _harden(self, images: Images, loss: Objective, *, draws: Draws, inner: str) -> Images:
        """Images that an adversary within the radius has made harder, or that are shaken as far."""
        radius = self.radius / 255
        shake = draws.uniform(images) * radius
        if inner == "uniform":
            return (images + shake).clamp(0, 1)
        return pgd.ascend(images, loss=loss, steps=self.adversary_steps, rate=self.adversary_step / 255, radius=radius, start=shake)


@dataclass(frozen=True, kw_only=True)
class SEM(REM):
    """REM with one uniform draw for the inner adversary; the network is still trained on an adversary's images."""

    inner: str = "uniform"


def _uniform(draws_of: DrawsOf, *, budget: Budget) -> Start:
    """A descent starts anywhere in the budget, whatever was kept."""
    return lambda rows, kept: draws_of(rows).uniform(kept) * budget.radius
