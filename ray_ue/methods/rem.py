"""Robust error minimisation (REM; Fu et al. 2022, arXiv 2203.14533) and its stable form (SEM; Liu et al. 2024, arXiv 2311.13091).

Error minimisation against a network that is itself trained on adversarial images, so that adversarial training does not undo it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ray_ue.images.augment import crop
from ray_ue.loop import Step, Workers
from ray_ue.methods._shared.batch_rng import BatchRng
from ray_ue.methods._shared.delta_method import NetworkMethod
from ray_ue.methods._shared.delta_updates import DeltaUpdates, Descent, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, RunningMean, Sampler, largest_batch
from ray_ue.methods._shared.source_model import SourceModel, check_network, source_loss
from ray_ue.methods._shared.train_then_descend import Descending, Training, train_then_descend
from ray_ue.methods.base import Aimed, View
from ray_ue.perturbations import pgd
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.pgd import Objective
from ray_ue.random_streams import STREAMS
from ray_ue.registry import pick

DROPS, DROP = 2000, 0.1  # the learning rate falls to a tenth after so many steps
FINAL = 512  # images of a batch when the finished network makes all perturbations
INNER = {"pgd": "an adversary's steps (REM)", "uniform": "one uniform draw (SEM)"}


@dataclass(frozen=True, kw_only=True)
class REM(NetworkMethod):
    """Trains `network` for `training_steps` steps, each on a fresh perturbation of its batch.

    The perturbation takes `steps` steps of `step` levels that lower the loss under `draws` crops, each of which an adversary within
    `adversary_levels` levels has raised by `inner`. In the end the network makes every image's perturbation anew.
    """

    per = "image"
    multi_grouping = True
    training_steps: int = field(default=5000, metadata={"identity": "trained"})
    batch: int = 128
    steps: int = 10
    step: float = 1.6
    adversary_levels: float = field(default=4.0, metadata={"identity": "radius"})
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
        least = min(self.training_steps, self.batch, self.steps, self.adversary_steps, self.draws)
        if least < 1 or min(self.step, self.adversary_levels, self.adversary_step, self.learning_rate) <= 0:
            raise ValueError(f"REM and SEM need steps, draws, batch, adversary_levels and rates above zero, got {self}")

    def peak_batch(self, rows: int, *, pools: int) -> int:
        """The slopes of a batch pass through all its draws at once."""
        return max(min(self.batch, rows), largest_batch(rows, pools=pools, batch=FINAL)) * self.draws

    def passes(self, rows: int) -> int:
        per_batch = self.steps * self._passes_per_step()
        return self.training_steps * min(self.batch, rows) * (per_batch + self.adversary_steps + 1) + rows * per_batch

    def _passes_per_step(self) -> int:
        """Of a row whose perturbation takes a step."""
        return self.draws * (1 + (self.adversary_steps if self.inner == "pgd" else 0))

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        deltas = open_deltas(view, budget=budget, workers=workers, resume=resume)
        sampler = Sampler(view=view, workers=workers, seed=seed)
        source = SourceModel.create(self.network, sampler=sampler, decay=self.decay, resume=resume, passes=self.passes(len(view.pixels)))
        rows, descent = len(view.pixels), len(view.pixels) * self.steps * self._passes_per_step()
        training = Training(
            steps=self.training_steps,
            train=partial(self._train_source, source, sampler, deltas, budget.radius),
        )
        descending = Descending(
            batches=sampler.pooled(0, batch=FINAL),
            begin=partial(self._begin, sampler, budget.radius),
            loss=partial(self._loss, source),
            steps=self.steps,
            rate=self.step / 255,
        )
        passes = (self.passes(rows) - descent, descent)
        yield from train_then_descend(source, deltas, training=training, descending=descending, passes=passes, resume=resume)

    def _train_source(self, source: SourceModel, sampler: Sampler, deltas: DeltaUpdates, radius: float, step: int) -> Callable[[], float]:
        """Perturb a batch downhill, then uphill, and train on it."""
        rows = sampler.endless(step, batch=self.batch)
        own, stream = sampler.own(rows), sampler.share_rng(STREAMS["rem/train"], step, rows=rows)
        source.freeze()
        batch = deltas.begin(self._descent(sampler, own, stream, start=stream, radius=radius))
        for _ in range(self.steps):
            deltas.step([batch], partial(self._loss, source, RunningMean()), rate=self.step / 255)
        perturbed = crop(batch.images + deltas.result(batch).detach(), stream.crops(batch.images.shape[-1]))
        hard = self._harden(perturbed, lambda images: source.cross_entropy(images, batch.targets), stream=stream, inner="pgd")
        source.unfreeze()
        rate = self.learning_rate * DROP ** (step // DROPS)
        return source_loss(source.train_step(hard, batch.targets, rows=len(rows), rate=rate), rate=rate)

    def _begin(self, sampler: Sampler, radius: float, rows: Rows) -> Descent:
        start, stream = (sampler.pool_rng(STREAMS[name], rows=rows) for name in ("rem/start", "rem/crops"))
        return self._descent(sampler, rows, stream, start=start, radius=radius)

    @staticmethod
    def _descent(sampler: Sampler, rows: Rows, stream: BatchRng, *, start: BatchRng, radius: float) -> Descent:
        """A descent starts from uniform noise within the budget, not from the stored deltas."""
        images, targets = sampler.images(rows), sampler.targets(rows)
        return Descent(rows=rows, images=images, targets=targets, stream=stream, start=lambda stored: start.uniform(stored) * radius)

    def _loss(self, source: SourceModel, mean: RunningMean, batch: Descent, images: Images) -> Float[Tensor, ""]:
        values = []
        for _ in range(self.draws):
            cropped = crop(images, batch.stream.crops(images.shape[-1]))
            objective = partial(source.cross_entropy, targets=batch.targets)
            hard = self._harden(cropped.detach(), objective, stream=batch.stream, inner=self.inner)
            values.append(source.cross_entropy(cropped + (hard - cropped.detach()), batch.targets))
        value = torch.stack(values).mean()
        mean.add(value / max(len(batch.rows), 1), len(batch.rows))
        return value

    def _harden(self, images: Images, loss: Objective, *, stream: BatchRng, inner: str) -> Images:
        """Images that an adversary within the radius has made harder, or that are shaken as far."""
        radius = self.adversary_levels / 255
        shake = stream.uniform(images) * radius
        if inner == "uniform":
            return (images + shake).clamp(0, 1)
        return pgd.ascend(images, loss=loss, steps=self.adversary_steps, rate=self.adversary_step / 255, radius=radius, start=shake)


@dataclass(frozen=True, kw_only=True)
class SEM(REM):
    """REM with one uniform draw for the inner adversary; the network is still trained on an adversary's images."""

    inner: str = "uniform"
