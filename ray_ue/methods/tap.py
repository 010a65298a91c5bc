"""Targeted adversarial poisoning (TAP, AP; Fowl et al. 2021, arXiv 2106.10807): images that a clean network takes for another group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ray_ue.augment import crop
from ray_ue.budget import Budget
from ray_ue.methods.base import Aimed, View
from ray_ue.methods.batches import Batches, Images, Mean, Rows, largest
from ray_ue.methods.source import Source, check_network, cosine
from ray_ue.methods.tables import Table, Trained, open_table
from ray_ue.pgd import Objective
from ray_ue.steps import Step, Workers


@dataclass(frozen=True, kw_only=True)
class TAP(Trained):
    """`network` is trained on the clean images for `epochs`; then `steps` steps of `step` levels lower the aimed group's cross-entropy.

    Images are cropped and flipped after the perturbation is added, in both parts. The aim is the recipe's: `shift` is the authors' y + 1.
    One random start, as in their instructions (their default keeps the best of 8).
    """

    per = "image"
    epochs: int = 40
    batch: int = 128
    poison_batch: int = 512
    steps: int = 250
    step: float = 0.4
    network: str = "resnet18"
    learning_rate: float = 0.1
    decay: float = 5e-4

    def __post_init__(self) -> None:
        check_network(self.network)
        if min(self.epochs, self.batch, self.poison_batch, self.steps) < 1 or min(self.step, self.learning_rate) <= 0:
            raise ValueError(f"TAP needs epochs, batches, steps, step and rate above zero, got {self}")

    def together(self, rows: int, *, pools: int) -> int:
        return max(min(self.batch, rows), largest(rows, pools=pools, batch=self.poison_batch))

    def passes(self, rows: int) -> int:
        return rows * (self.epochs + self.steps)

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        table = open_table(view, budget=budget, workers=workers, resume=resume)
        batches = Batches(view=view, workers=workers, seed=seed)
        source = Source.fresh(self.network, view=view, decay=self.decay, seed=seed, workers=workers, resume=resume)
        for epoch in range(int(resume["epoch"]) if resume else 0, self.epochs + 1):
            if epoch < self.epochs:
                loss, images = self._learn(source, batches, epoch), (epoch + 1) * len(view.pixels)
            else:
                loss, images = self._move(source, table, batches, aim=aim, budget=budget), self.passes(len(view.pixels))
            state = source.state() | table.state() | {"epoch": torch.tensor(epoch + 1)}
            yield Step(step=epoch + 1, steps=self.epochs + 1, loss=loss, images=images, state=lambda state=state: dict(state), saved="must")

    def _learn(self, source: Source, batches: Batches, epoch: int) -> float:
        source.awake()
        plan, total = batches.training(epoch, batch=self.batch), 0.0
        rate = cosine(epoch / self.epochs, lr=self.learning_rate, floor=0.0)
        for rows in plan:
            mine = batches.mine(rows)
            images = crop(batches.images(mine), batches.part(53, epoch, rows=rows).crops(batches.view.surrogate.canvas))
            total += source.learn(images, batches.targets(mine), rows=len(rows), rate=rate) * len(rows)
        return total / sum(map(len, plan))

    def _move(self, source: Source, table: Table, batches: Batches, *, aim: Aimed, budget: Budget) -> float:
        source.still()
        mean, aimed = Mean(), torch.from_numpy(aim.astype(np.int64)).to(batches.view.surrogate.device)

        def show(rows: Rows) -> tuple[Images, Objective]:
            targets, draws = aimed[batches.targets(rows)[0]], batches.whole(59, rows=rows)

            def loss(moved: Images) -> Tensor:
                logits = source.logits(crop(moved, draws.crops(moved.shape[-1])))[0]
                value = F.cross_entropy(logits, targets, reduction="sum")
                mean.add(value.detach() / len(rows), len(rows))
                return value

            return batches.images(rows), loss

        def start(rows: Rows, kept: Images) -> Images:
            return batches.whole(61, rows=rows).normal(kept) * budget.radius

        pooled = batches.pooled(self.epochs, batch=self.poison_batch)
        table.settle(pooled, show, steps=self.steps, rate=self.step / 255, start=start)
        return mean.over(batches.workers, device=batches.view.surrogate.device)
