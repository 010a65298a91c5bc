"""Perturbation-induced linearization (PIL; Liu, Chen and Zhang, ICLR 2026, arXiv 2601.19967): what a linear map takes for the group."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ray_ue.loop import Step, Workers, restore_optimiser, seeded_weights
from ray_ue.methods._shared.delta_method import DeltaMethod
from ray_ue.methods._shared.delta_updates import Descent, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, RunningMean, Sampler, largest_batch
from ray_ue.methods._shared.source_model import MOMENTUM, SourceModel, cosine_rate, source_loss
from ray_ue.methods._shared.train_then_descend import Descending, Training, train_then_descend
from ray_ue.methods.base import Aimed, View
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS

RATED = 32  # the side of the pictures that the authors' learning rate is for


@dataclass(frozen=True, kw_only=True)
class PIL(DeltaMethod):
    """A linear map without bias, f, is trained on the clean images for `epochs`; then `steps` sign steps of `step_share` of the budget
    lower shortcut * CE(f(d), y) + (1 - shortcut) * KL(uniform || softmax f(x - d)), and x - d is published; y is the image's group.

    Defaults are those of the authors' code: f is two matrices, from [0, 1] pixels [3 h w] to groups and from groups to groups, trained by
    SGD with momentum along half a cosine, without augmentation or decay; perturbations start from uniform noise in the budget; their step
    of 8/2550 is a tenth of their budget of 8/255. Ours: batches are shuffled, every step keeps x - d in [0, 1] where theirs clips at the
    end, and at another side than 32 the learning rate is multiplied by (32 / side)^2, so that f learns a resized picture as fast.
    A `ValueError` if there is only one group.
    """

    per = "image"
    epochs: int = 30
    batch: int = 512
    steps: int = 30
    step_share: float = 0.1
    shortcut: float = 0.9
    learning_rate: float = 0.003

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.steps) < 1 or min(self.step_share, self.learning_rate) <= 0 or not 0 <= self.shortcut <= 1:
            raise ValueError(f"PIL needs epochs, batch, steps, step_share and rate above zero and a shortcut from 0 to 1, got {self}")

    @property
    def source_arch(self) -> str:
        return "linear"

    def peak_batch(self, rows: int, *, pools: int) -> int:
        return max(min(self.batch, rows), largest_batch(rows, pools=pools, batch=self.batch))

    def passes(self, rows: int) -> int:
        return rows * (self.epochs + self.steps)

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        if view.groups < 2:
            raise ValueError("PIL gives the images of each group a shortcut of their own, but there is only 1 group")
        deltas = open_deltas(view, budget=budget, workers=workers, resume=resume)
        sampler = Sampler(view=view, workers=workers, seed=seed)
        source = _linear_source(sampler, resume=resume)
        training = Training(
            steps=self.epochs * sampler.per_epoch(batch=self.batch),
            train=partial(self._train_source, source, sampler),
        )
        descending = Descending(
            batches=sampler.pooled(self.epochs, batch=self.batch),
            begin=partial(_begin, sampler, budget),
            loss=partial(self._loss, source.net["body"]),
            steps=self.steps,
            rate=self.step_share * budget.radius,
        )
        passes = (self.epochs * len(view.pixels), self.steps * len(view.pixels))
        yield from train_then_descend(source, deltas, training=training, descending=descending, passes=passes, resume=resume)

    def _train_source(self, source: SourceModel, sampler: Sampler, step: int) -> Callable[[], float]:
        epoch, turn = divmod(step, sampler.per_epoch(batch=self.batch))
        rows = sampler.training(epoch, batch=self.batch)[turn]
        rate = cosine_rate(epoch / self.epochs, lr=self.learning_rate, floor=0.0) * (RATED / sampler.view.surrogate.canvas) ** 2
        own = sampler.own(rows)
        images, groups = sampler.images(own), sampler.targets(own)[0]

        def objective() -> Float[Tensor, ""]:
            return F.cross_entropy(source.net["body"](images), groups, reduction="sum") / len(rows)

        return source_loss(source.descend(objective, rate=rate), rate=rate)

    def _loss(self, linear: nn.Module, mean: RunningMean, batch: Descent, images: Images) -> Float[Tensor, ""]:
        """The sum over the rows; what a descent adds to an image is -d."""
        told = F.cross_entropy(linear(batch.images - images), batch.targets[0], reduction="sum")
        likely = F.log_softmax(linear(images), 1)
        blurred = -(math.log(likely.shape[1]) + likely.mean(1)).sum()
        value = self.shortcut * told + (1 - self.shortcut) * blurred
        mean.add(value / len(batch.rows), len(batch.rows))
        return value


def _begin(sampler: Sampler, budget: Budget, rows: Rows) -> Descent:
    noise = sampler.pool_rng(STREAMS["pil/start"], rows=rows)
    return Descent(
        rows=rows,
        images=sampler.images(rows),
        targets=sampler.targets(rows),
        stream=noise,
        start=lambda stored: noise.uniform(stored) * budget.radius,
    )


def _linear_source(sampler: Sampler, *, resume: Mapping[str, Tensor]) -> SourceModel:
    """The map f as a source model: its weights are a function of the seed, or those of `resume`."""
    view = sampler.view
    with seeded_weights(sampler.seed):
        first = nn.Linear(3 * view.surrogate.canvas**2, view.groups, bias=False)
        body = nn.Sequential(nn.Flatten(), first, nn.Linear(view.groups, view.groups, bias=False))
    net = nn.ModuleDict({"body": body}).to(view.surrogate.device)
    net.register_buffer("taken", torch.zeros((), dtype=torch.int64))  # on the CPU: to read it waits for no device
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0, momentum=MOMENTUM)
    if resume:
        restore_optimiser(net, optimiser, resume)
    return SourceModel(net=net, body=net["body"], optimiser=optimiser, workers=sampler.workers, seed=sampler.seed)
