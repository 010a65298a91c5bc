"""Targeted adversarial poisoning (TAP, AP; Fowl et al. 2021, arXiv 2106.10807): images that a clean network takes for another group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue.images.augment import crop
from ray_ue.loop import Step, Workers
from ray_ue.methods._shared.delta_updates import Descent, NetworkMethod, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, RunningMean, Sampler, largest_batch
from ray_ue.methods._shared.source_model import SourceModel, check_network, cosine_rate
from ray_ue.methods.base import Aimed, View
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS


@dataclass(frozen=True, kw_only=True)
class TAP(NetworkMethod):
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

    def peak_batch(self, rows: int, *, pools: int) -> int:
        return max(min(self.batch, rows), largest_batch(rows, pools=pools, batch=self.poison_batch))

    def passes(self, rows: int) -> int:
        return rows * (self.epochs + self.steps)

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        deltas = open_deltas(view, budget=budget, workers=workers, resume=resume)
        sampler = Sampler(view=view, workers=workers, seed=seed)
        source = SourceModel.create(self.network, sampler=sampler, decay=self.decay, resume=resume)
        mean = RunningMean()
        loss_of = partial(self._loss, source, torch.from_numpy(aim.astype(np.int64)).to(view.surrogate.device), mean)
        for epoch in range(int(resume["epoch"]) if resume else 0, self.epochs + 1):
            if epoch < self.epochs:
                loss, images = self._train_source(source, sampler, epoch), (epoch + 1) * len(view.pixels)
            else:
                source.freeze()
                begin = partial(self._begin, sampler, budget.radius)
                for batches in deltas.round(sampler.pooled(self.epochs, batch=self.poison_batch), begin):
                    for _ in range(self.steps):
                        deltas.step(batches, loss_of, rate=self.step / 255)
                loss, images = mean.over(workers, device=view.surrogate.device), self.passes(len(view.pixels))
            state = source.state() | deltas.state() | {"epoch": torch.tensor(epoch + 1)}
            yield Step(step=epoch + 1, steps=self.epochs + 1, loss=loss, images=images, state=partial(dict, state), saved="must")

    def _train_source(self, source: SourceModel, sampler: Sampler, epoch: int) -> float:
        source.unfreeze()
        batches, total = sampler.training(epoch, batch=self.batch), 0.0
        rate = cosine_rate(epoch / self.epochs, lr=self.learning_rate, floor=0.0)
        for rows in batches:
            own = sampler.own(rows)
            crops = sampler.share_rng(STREAMS["tap/train"], epoch, rows=rows).crops(sampler.view.surrogate.canvas)
            total += source.train_step(crop(sampler.images(own), crops), sampler.targets(own), rows=len(rows), rate=rate) * len(rows)
        return total / sum(map(len, batches))

    @staticmethod
    def _begin(sampler: Sampler, radius: float, rows: Rows) -> Descent:
        """A descent starts from normal noise, not from the stored deltas."""
        noise = sampler.pool_rng(STREAMS["tap/start"], rows=rows)
        return Descent(
            rows=rows,
            images=sampler.images(rows),
            targets=sampler.targets(rows),
            stream=sampler.pool_rng(STREAMS["tap/crops"], rows=rows),
            start=lambda stored: noise.normal(stored) * radius,
        )

    @staticmethod
    def _loss(source: SourceModel, aim: Int[Tensor, " G"], mean: RunningMean, batch: Descent, images: Images) -> Float[Tensor, ""]:
        logits = source.logits(crop(images, batch.stream.crops(images.shape[-1])))[0]
        value = F.cross_entropy(logits, aim[batch.targets[0]], reduction="sum")
        mean.add(value / len(batch.rows), len(batch.rows))
        return value
