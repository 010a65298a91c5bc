"""MI-UE (arXiv 2603.03725, ICLR 2026): features of a group pulled together and away from the rest, against a network that is trained along.

With clusters in place of labels it is label-agnostic, which the paper does not try: the loss needs only groups.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ray_ue.images.augment import crop
from ray_ue.loop import Step, Workers
from ray_ue.methods._shared.batch_rng import BatchRng
from ray_ue.methods._shared.delta_updates import DeltaUpdates, Descent, NetworkMethod, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, RunningMean, Sampler, flipped, largest_batch
from ray_ue.methods._shared.source_model import SourceModel, check_network, cosine_rate
from ray_ue.methods.base import Aimed, View
from ray_ue.objectives.mi_ue import mi_loss, prototype_loss
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS
from ray_ue.registry import pick

FLOOR = 1e-6  # the last learning rate of the authors' cosine
RAMPS = {"paper": "the same step in every epoch", "code": "the released code's: growing to 4 levels in all per epoch"}
SOURCES = {"scratch": "trained along on the poison", "frozen": "the surrogate, toward the aimed group's centre (ours)"}


@dataclass(frozen=True, kw_only=True)
class MIUE(NetworkMethod):
    """Every epoch trains `network` once on the protected images, and then moves every perturbation by `steps` steps of `step` levels.

    `self_pair` counts a row among its own partners, as the released code does. `ramp` "paper" keeps the step, "code" is the released
    schedule. `zeta` weighs the distance term: 0.1 in the paper, 0 in the released command. Images are mirrored before the perturbation
    is added; with `draws` (the released code has it as an option, off: 5) they are cropped and mirrored after that, in both phases,
    and slopes are means over so many draws. `source` "frozen" trains no network: features of the surrogate are pulled to the aimed
    group's centre and away from the others.
    """

    per = "image"
    multi_grouping = True
    epochs: int = 100
    batch: int = 128
    poison_batch: int = 512
    steps: int = 10
    step: float = 0.2
    ramp: str = "paper"
    tau: float = 0.1
    zeta: float = 0.1
    self_pair: bool = field(default=True, metadata={"identity": "itself"})
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
    def uses_surrogate(self) -> bool:
        return self.source == "frozen"

    @property
    def source_arch(self) -> str:
        return "" if self.uses_surrogate else self.network

    def peak_batch(self, rows: int, *, pools: int) -> int:
        return max(min(self.batch, rows), largest_batch(rows, pools=pools, batch=self.poison_batch) * max(self.draws, 1))

    def passes(self, rows: int) -> int:
        return self.epochs * rows * (self.steps * max(self.draws, 1) + (not self.uses_surrogate))

    def level(self, epoch: int) -> float:
        """The step of epoch 1 to `epochs`, in levels. The code's ramp runs from `step` up to 4 / steps (spec of its schedule: alpha)."""
        if self.ramp == "paper":
            return self.step
        last = 4 / self.steps
        return last + (self.epochs - epoch + 1) / self.epochs * (self.step - last)

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        deltas = open_deltas(view, budget=budget, workers=workers, resume=resume)
        sampler = Sampler(view=view, workers=workers, seed=seed)
        source = None if self.uses_surrogate else SourceModel.create(self.network, sampler=sampler, decay=self.decay, resume=resume)
        for epoch in range(int(resume["epoch"]) if resume else 0, self.epochs):
            # 1. The network learns from all images once, with their perturbations as they are.
            learnt = self.train_source(source, sampler, deltas, epoch=epoch) if source else 0.0

            # 2. All perturbations move down the loss once, by sign steps, against the network as it is.
            mean = RunningMean()
            loss = partial(self.mi_loss, source, mean) if source else partial(self.prototype_loss, view, aim, mean)
            for batches in deltas.round(sampler.pooled(epoch, batch=self.poison_batch), partial(self.begin, sampler, epoch)):
                for _ in range(self.steps):
                    deltas.step(batches, loss, rate=self.level(epoch + 1) / 255)

            value = mean.over(workers, device=view.surrogate.device)
            if not math.isfinite(value):
                raise FloatingPointError(f"the MI-UE loss is {value} in epoch {epoch + 1}; try a larger --settings tau")
            state = (source.state() if source else {}) | deltas.state() | {"epoch": torch.tensor(epoch + 1), "loss": torch.tensor(learnt)}
            images = (epoch + 1) * self.passes(len(view.pixels)) // self.epochs
            yield Step(step=epoch + 1, steps=self.epochs, loss=value, images=images, state=partial(dict, state), saved="must")

    def train_source(self, source: SourceModel, sampler: Sampler, deltas: DeltaUpdates, *, epoch: int) -> float:
        """Train the network on all perturbed images once and freeze it again; returns the mean cross-entropy."""
        source.unfreeze()
        batches, total = sampler.training(epoch, batch=self.batch), 0.0
        rate = cosine_rate(epoch / self.epochs, lr=self.learning_rate, floor=FLOOR)
        for rows in batches:
            own, stream = sampler.own(rows), sampler.share_rng(STREAMS["mi-ue/train"], epoch, rows=rows)
            images = self.cropped(self.mirrored(sampler.images(own), stream) + deltas.get(own), stream)
            total += source.train_step(images, sampler.targets(own), rows=len(rows), rate=rate) * len(rows)
        source.freeze()
        return total / sum(map(len, batches))

    def begin(self, sampler: Sampler, epoch: int, rows: Rows) -> Descent:
        stream = sampler.pool_rng(STREAMS["mi-ue/descend"], epoch, rows=rows)
        images = self.mirrored(sampler.images(rows), stream)
        return Descent(rows=rows, images=images, targets=sampler.targets(rows), stream=stream)

    def mi_loss(self, source: SourceModel, mean: RunningMean, batch: Descent, images: Images) -> Float[Tensor, ""]:
        """The paper's loss on the network's features, a mean over groupings and over `draws` crops; also added to `mean`."""
        values = []
        for _ in range(max(self.draws, 1)):
            features = source.features(self.cropped(images, batch.stream))
            each = [mi_loss(features, groups, tau=self.tau, zeta=self.zeta, itself=self.self_pair) for groups in batch.targets]
            values.append(torch.stack(each).mean())
        return mean.add(torch.stack(values).mean(), len(batch.rows))

    def prototype_loss(self, view: View, aim: Aimed, mean: RunningMean, batch: Descent, images: Images) -> Float[Tensor, ""]:
        """For a frozen surrogate: features toward the aimed group's centre and away from the other centres (ours)."""
        device = images.device
        aimed = torch.from_numpy(aim.astype(np.int64)).to(device)[batch.targets[0]]
        centers, values = torch.from_numpy(view.centers).to(device), []
        for _ in range(max(self.draws, 1)):
            features = view.surrogate.features(self.cropped(images, batch.stream))
            values.append(prototype_loss(features, centers, aimed, tau=self.tau))
        return mean.add(torch.stack(values).mean(), len(batch.rows))

    def mirrored(self, images: Images, stream: BatchRng) -> Images:
        """What a perturbation is added to."""
        return images if self.draws else flipped(images, stream, share=self.flips)

    def cropped(self, images: Images, stream: BatchRng) -> Images:
        """What the network sees of perturbed images."""
        return crop(images, stream.crops(images.shape[-1], flips=self.flips)) if self.draws else images
