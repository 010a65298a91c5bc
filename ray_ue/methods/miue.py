"""MI-UE (arXiv 2603.03725, ICLR 2026): features of a group pulled together and away from the rest, against a network that is trained along.

With clusters in place of labels it is label-agnostic, which the paper does not try: the loss needs only groups.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ray_ue.augment import crop
from ray_ue.budget import Budget
from ray_ue.methods.base import Aimed, View
from ray_ue.methods.batches import Batches, Images, Mean, Rows, flipped, largest
from ray_ue.methods.draws import Draws
from ray_ue.methods.source import Source, check_network, cosine
from ray_ue.methods.tables import Table, Trained, kept, open_table
from ray_ue.mutual import mutual, toward
from ray_ue.pgd import Objective
from ray_ue.steps import Step, Workers
from ray_ue.types import pick

FLOOR = 1e-6  # the last learning rate of the authors' cosine
RAMPS = {"paper": "the same step in every epoch", "code": "the released code's: growing to 4 levels in all per epoch"}
SOURCES = {"scratch": "trained along on the poison", "frozen": "the surrogate, toward the aimed group's centre (ours)"}


@dataclass(frozen=True, kw_only=True)
class MIUE(Trained):
    """Every epoch trains `network` once on the protected images, and then moves every perturbation by `steps` steps of `step` levels.

    `itself` counts a row among its own partners, as the released code does. `ramp` "paper" keeps the step, "code" is the released
    schedule. `zeta` weighs the distance term: 0.1 in the paper, 0 in the released command. Images are mirrored before the perturbation
    is added; with `draws` (the released code has it as an option, off: 5) they are cropped and mirrored after that, in both phases,
    and slopes are means over so many draws. `source` "frozen" trains no network: features of the surrogate are pulled to the aimed
    group's centre and away from the others.
    """

    per = "image"
    several = True
    epochs: int = 100
    batch: int = 128
    poison_batch: int = 512
    steps: int = 10
    step: float = 0.2
    ramp: str = "paper"
    tau: float = 0.1
    zeta: float = 0.1
    itself: bool = True
    network: str = "resnet18"
    learning_rate: float = 0.1
    decay: float = 1e-4
    flips: float = 0.5
    draws: int = 0
    source: str = "scratch"

    def __post_init__(self) -> None:
        check_network(self.network)
        pick(RAMPS, self.ramp, what="ramp of the step")
        pick(SOURCES, self.source, what="source of MI-UE")
        least = min(self.epochs, self.batch, self.poison_batch, self.steps)
        if least < 1 or min(self.step, self.tau, self.learning_rate) <= 0 or min(self.zeta, self.draws) < 0:
            raise ValueError(f"MI-UE needs epochs, batches, steps, step, tau and rate above zero, zeta and draws from 0 up, got {self}")

    @property
    def frozen(self) -> bool:
        return self.source == "frozen"

    @property
    def trains(self) -> str:
        return "" if self.frozen else self.network

    def together(self, rows: int, *, pools: int) -> int:
        return max(min(self.batch, rows), largest(rows, pools=pools, batch=self.poison_batch) * max(self.draws, 1))

    def passes(self, rows: int) -> int:
        return self.epochs * rows * (self.steps * max(self.draws, 1) + (not self.frozen))

    def level(self, epoch: int) -> float:
        """The step of epoch 1 to `epochs`, in levels. The code's ramp runs from `step` up to 4 / steps (spec of its schedule: alpha)."""
        if self.ramp == "paper":
            return self.step
        last = 4 / self.steps
        return last + (self.epochs - epoch + 1) / self.epochs * (self.step - last)

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        table = open_table(view, budget=budget, workers=workers, resume=resume)
        batches = Batches(view=view, workers=workers, seed=seed)
        own = {"view": view, "decay": self.decay, "seed": seed, "workers": workers, "resume": resume}
        source = None if self.frozen else Source.fresh(self.network, **own)
        for epoch in range(int(resume["epoch"]) if resume else 0, self.epochs):
            loss = self.learn(source, table, batches, epoch) if source else 0.0
            seen = Mean()
            self.move(source, table, batches, epoch, aim=aim, seen=seen)
            mean = seen.over(workers, device=view.surrogate.device)
            if not math.isfinite(mean):
                raise FloatingPointError(f"the MI-UE loss is {mean} in epoch {epoch + 1}; try a larger --settings tau")
            state = (source.state() if source else {}) | table.state() | {"epoch": torch.tensor(epoch + 1), "loss": torch.tensor(loss)}
            images = (epoch + 1) * self.passes(len(view.pixels)) // self.epochs
            yield Step(step=epoch + 1, steps=self.epochs, loss=mean, images=images, state=lambda state=state: dict(state), saved="must")

    def before(self, images: Images, draws: Draws) -> Images:
        """What a perturbation is added to."""
        return images if self.draws else flipped(images, draws, share=self.flips)

    def augmented(self, moved: Images, draws: Draws) -> Images:
        """What the network sees of perturbed images."""
        return crop(moved, draws.crops(moved.shape[-1], flips=self.flips)) if self.draws else moved

    def learn(self, source: Source, table: Table, batches: Batches, epoch: int) -> float:
        """One pass of the network over the images with their perturbations as they are; returns the mean loss."""
        source.awake()
        plan, total = batches.training(epoch, batch=self.batch), 0.0
        rate = cosine(epoch / self.epochs, lr=self.learning_rate, floor=FLOOR)
        for rows in plan:
            mine = batches.mine(rows)
            draws = batches.part(41, epoch, rows=rows)
            images = self.augmented(self.before(batches.images(mine), draws) + table.of(mine), draws)
            total += source.learn(images, batches.targets(mine), rows=len(rows), rate=rate) * len(rows)
        return total / sum(map(len, plan))

    def move(self, source: Source | None, table: Table, batches: Batches, epoch: int, *, aim: Aimed, seen: Mean) -> None:
        """One pass of sign descent over all perturbations."""
        view = batches.view
        prototypes = torch.from_numpy(view.centers).to(view.surrogate.device)
        if source:
            source.still()

        def show(rows: Rows) -> tuple[Images, Objective]:
            groups, draws = batches.targets(rows), batches.whole(43, epoch, rows=rows)

            def of(shown: Images) -> Tensor:
                if source is None:
                    aimed = torch.from_numpy(aim.astype(np.int64)).to(shown.device)[groups[0]]
                    return toward(view.surrogate.features(shown), prototypes, aimed, tau=self.tau)
                found = source.features(shown)
                return torch.stack([mutual(found, kinds, tau=self.tau, zeta=self.zeta, itself=self.itself) for kinds in groups]).mean()

            def loss(moved: Images) -> Tensor:
                value = torch.stack([of(self.augmented(moved, draws)) for _ in range(max(self.draws, 1))]).mean()
                seen.add(value.detach(), len(rows))
                return value

            return self.before(batches.images(rows), draws), loss

        pooled = batches.pooled(epoch, batch=self.poison_batch)
        table.settle(pooled, show, steps=self.steps, rate=self.level(epoch + 1) / 255, start=kept)
