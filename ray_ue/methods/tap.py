"""Targeted adversarial poisoning (TAP, AP; Fowl et al. 2021, arXiv 2106.10807): images that a clean network takes for another group."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue.images.augment import crop
from ray_ue.loop import Step, Workers
from ray_ue.methods._shared.delta_method import NetworkMethod
from ray_ue.methods._shared.delta_updates import Descent, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, RunningMean, Sampler, largest_batch
from ray_ue.methods._shared.source_model import SourceModel, check_network, cosine_rate, source_loss
from ray_ue.methods._shared.train_then_descend import Descending, Training, train_then_descend
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
        source = SourceModel.create(self.network, sampler=sampler, decay=self.decay, resume=resume, passes=self.passes(len(view.pixels)))
        aimed = torch.from_numpy(aim.astype(np.int64)).to(view.surrogate.device)
        training = Training(
            steps=self.epochs * sampler.per_epoch(batch=self.batch),
            train=partial(self._train_source, source, sampler),
        )
        descending = Descending(
            batches=sampler.pooled(self.epochs, batch=self.poison_batch),
            begin=partial(self._begin, sampler, budget.radius),
            loss=partial(self._loss, source, aimed),
            steps=self.steps,
            rate=self.step / 255,
        )
        passes = (self.epochs * len(view.pixels), self.steps * len(view.pixels))
        yield from train_then_descend(source, deltas, training=training, descending=descending, passes=passes, resume=resume)

    def _train_source(self, source: SourceModel, sampler: Sampler, step: int) -> Callable[[], float]:
        epoch, turn = divmod(step, sampler.per_epoch(batch=self.batch))
        rows = sampler.training(epoch, batch=self.batch)[turn]
        own, rate = sampler.own(rows), cosine_rate(epoch / self.epochs, lr=self.learning_rate, floor=0.0)
        crops = sampler.share_rng(STREAMS["tap/train"], epoch, rows=rows).crops(sampler.view.surrogate.canvas)
        images = crop(sampler.images(own), crops)
        return source_loss(source.train_step(images, sampler.targets(own), rows=len(rows), rate=rate), rate=rate)

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
