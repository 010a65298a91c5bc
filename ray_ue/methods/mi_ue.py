"""MI-UE (arXiv 2603.03725, ICLR 2026): features of a group pulled together and away from the rest, against a network that is trained along.

With clusters in place of labels it is label-agnostic, which the paper does not try: the loss needs only groups.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ray_ue.images.augment import crop
from ray_ue.loop import Step, Workers, joint_state
from ray_ue.methods._shared.batch_rng import BatchRng
from ray_ue.methods._shared.delta_method import NetworkMethod
from ray_ue.methods._shared.delta_updates import DeltaUpdates, Descent, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, RunningMean, Sampler, flipped, largest_batch
from ray_ue.methods._shared.source_model import SourceModel, check_network, cosine_rate, source_loss
from ray_ue.methods._shared.train_then_descend import Descending
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
        passes = self.passes(len(view.pixels))
        made = {"sampler": sampler, "decay": self.decay, "resume": resume, "passes": passes}
        source = None if self.uses_surrogate else SourceModel.create(self.network, **made)
        trained = sampler.per_epoch(batch=self.batch) if source else 0
        lists = deltas.lists(sampler.pooled(0, batch=self.poison_batch))
        count = partial(self._images, rows=len(view.pixels))
        begun, turn = (int(resume["epoch"]), int(resume["batch"])) if resume else (0, 0)
        parts = (source.state, deltas.state) if source else (deltas.state,)
        for epoch in range(begun, self.epochs):
            before = epoch * (trained + lists)
            # 1. The network learns from all images once, with their perturbations as they are.
            for batch in range(turn if epoch == begun else 0, trained):
                assert source is not None, "a frozen surrogate is not trained"
                yield Step(
                    step=before + batch + 1,
                    steps=self.epochs * (trained + lists),
                    loss_of=self._train_source(source, sampler, deltas, epoch=epoch, batch=batch),
                    images=count(epoch, (batch + 1) / trained, 0),
                    state=joint_state(*parts, epoch=epoch, batch=batch + 1),
                    saved="must" if batch + 1 == trained else "may",
                )

            # 2. All perturbations move down the loss once, by sign steps, against the network as it is.
            descending = Descending(
                batches=sampler.pooled(epoch, batch=self.poison_batch),
                begin=partial(self.begin, sampler, epoch),
                loss=partial(self.mi_loss, source.freeze()) if source else partial(self.prototype_loss, view, aim),
                steps=self.steps,
                rate=self.level(epoch + 1) / 255,
                advice="try a larger --settings tau",
            )
            for number, last, loss_of in descending.run(deltas, workers):
                yield Step(
                    step=before + trained + number,
                    steps=self.epochs * (trained + lists),
                    loss_of=loss_of,
                    images=count(epoch, 1, number / lists),
                    state=joint_state(*parts, epoch=epoch + last, batch=0 if last else trained),
                    saved="must" if last else "may",
                )

    def _images(self, epoch: int, trained: float, descended: float, *, rows: int) -> int:
        """The passes of some epochs, and of parts of the two phases of the next."""
        moved = self.steps * max(self.draws, 1)
        return round(rows * (epoch * (moved + (not self.uses_surrogate)) + trained * (not self.uses_surrogate) + descended * moved))

    def _train_source(self, source: SourceModel, sampler: Sampler, deltas: DeltaUpdates, *, epoch: int, batch: int) -> Callable[[], float]:
        """Train the network on one batch of perturbed images."""
        source.unfreeze()
        rate = cosine_rate(epoch / self.epochs, lr=self.learning_rate, floor=FLOOR)
        rows = sampler.training(epoch, batch=self.batch)[batch]
        own, stream = sampler.own(rows), sampler.share_rng(STREAMS["mi-ue/train"], epoch, rows=rows)
        images = self.cropped(deltas.added(self.mirrored(sampler.images(own), stream), own), stream)
        return source_loss(source.train_step(images, sampler.targets(own), rows=len(rows), rate=rate), rate=rate)

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
