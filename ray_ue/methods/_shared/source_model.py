"""The source network that a method trains together with its perturbations; it is the same on any number of workers."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ray_ue.loop import Workers, optimiser_state, read_loss, restore_optimiser, seeded, seeded_weights, sum_in_place
from ray_ue.methods._shared.sampler import Images, Sampler
from ray_ue.models.acceleration import CompiledNet, worth_compiling
from ray_ue.models.classifiers import classifier
from ray_ue.models.heads import remove_head
from ray_ue.models.names import NETS
from ray_ue.models.normalization import normalise
from ray_ue.models.precision import autocast
from ray_ue.models.sync_batchnorm import with_sync_batchnorm
from ray_ue.progress import say
from ray_ue.random_streams import STREAMS
from ray_ue.registry import unknown

MOMENTUM = 0.9
SAMPLED = 2000  # images that a network which looks at some before it is trained is given


def check_network(name: str) -> None:
    """Refuse a network that is not among the victims'."""
    if name not in NETS:
        raise unknown(name, NETS, what="network")


def refuse_several_workers(workers: Workers, *, method: str) -> None:
    """Refuse more than one worker where all rows of a batch must be in one place."""
    if workers.world > 1:
        raise ValueError(f"{method} compares all rows of a batch in one place; ask for --workers 1, got {workers.world}")


def source_loss(loss: Float[Tensor, ""], *, rate: float) -> Callable[[], float]:
    """The `loss_of` of a step that trained the source network at this rate."""
    return read_loss(loss, what="the source network's loss", advice=f"a --learning-rate below the present {rate:g} may work")


def cosine_rate(done: float, *, lr: float, floor: float) -> float:
    """Half a cosine from `lr` to `floor` as `done` goes from 0 to 1."""
    return floor + (lr - floor) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceModel:
    """A network in two parts, features and one linear head per grouping, trained by SGD on the sum of all workers' slopes.

    `body` is the first part of `net`, or what computes the same faster.

    What it drops out depends on `seed`, the worker and how many steps it has taken, which is the buffer `taken` of `net`.
    """

    net: nn.ModuleDict
    body: Callable[[Tensor], Tensor]
    optimiser: torch.optim.SGD
    workers: Workers
    seed: int

    @classmethod
    def create(
        cls,
        arch: str,
        *,
        sampler: Sampler,
        decay: float,
        resume: Mapping[str, Tensor],
        heads: Callable[[int], nn.ModuleList] | Literal["groups"] = "groups",
        passes: int = 0,
    ) -> "SourceModel":
        """Weights are a function of `seed` (and of the first images, for a network that looks at them); `resume` puts others in.

        `heads` makes what stands on features of a width, else there is a linear one for each grouping. Many `passes` are worth compiling.
        """
        view, seed, workers = sampler.view, sampler.seed, sampler.workers
        device = view.surrogate.device
        body = classifier(arch, side=view.surrogate.canvas, classes=view.groups, sample=np.array(view.pixels[:SAMPLED]), seed=seed)
        width = remove_head(body)
        with seeded_weights(seed + 1):
            tops = heads(width) if heads != "groups" else nn.ModuleList(nn.Linear(width, count) for count in view.counts())
        net = with_sync_batchnorm(nn.ModuleDict({"body": body, "heads": tops}), workers=workers)
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.register_buffer("taken", torch.zeros((), dtype=torch.int64))  # on the CPU: to read it waits for no device
        weights = [value for value in net.parameters() if value.requires_grad]
        optimiser = torch.optim.SGD(weights, lr=1.0, momentum=MOMENTUM, weight_decay=decay)
        if resume:
            restore_optimiser(net, optimiser, resume)
        compiled = worth_compiling(passes, device=device, world=workers.world)
        run = CompiledNet(net=net["body"], tell=say) if compiled else net["body"]
        return cls(net=net, body=run, optimiser=optimiser, workers=workers, seed=seed)

    def clone(self) -> "SourceModel":
        """A copy of the network as it is, to be trained elsewhere; the optimiser is still this one's."""
        net = copy.deepcopy(self.net)
        return replace(self, net=net, body=net["body"])

    def features(self, images: Images) -> Float[Tensor, "B D"]:
        """Penultimate features of images in [0, 1], in fp32; the network's mode is the caller's."""
        with autocast(images.device):
            return self.body(normalise(images)).float()

    def logits(self, images: Images) -> list[Float[Tensor, "B _"]]:
        """One row of logits per head."""
        features = self.features(images)
        return [head(features) for head in self.net["heads"]]  # type: ignore[union-attr]

    def cross_entropy(self, images: Images, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """The sum over the rows of the heads' mean cross-entropy."""
        each = [F.cross_entropy(logits, aims, reduction="sum") for logits, aims in zip(self.logits(images), targets, strict=True)]
        return torch.stack(each).mean()

    def train_step(self, images: Images, targets: Sequence[Tensor], *, rows: int, rate: float) -> Float[Tensor, ""]:
        """One SGD step of `rate` on a batch of `rows` of which this worker holds `images`; returns the batch's mean loss."""
        return self.descend(lambda: self.cross_entropy(images, targets) / rows, rate=rate)

    def descend(self, objective: Callable[[], Float[Tensor, ""]], *, rate: float) -> Float[Tensor, ""]:
        """One SGD step down this worker's part of a loss; returns the sum of all parts."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.net.train()
        taken = self.net.get_buffer("taken")
        with self.seeded_dropout(int(taken.numpy())):
            loss = objective()
        self.optimiser.zero_grad()
        loss.backward()
        sum_in_place([value.grad for value in self.net.parameters() if value.grad is not None], self.workers)
        self.optimiser.step()
        taken += 1
        return self.workers.all_reduce(loss.detach().clone())

    def seeded_dropout(self, *turn: int) -> AbstractContextManager[None]:
        """A context in which dropout is a function of the seed, the worker and `turn`."""
        return seeded(self.seed, STREAMS["source/dropout"], *turn, self.workers.rank, device=next(self.net.parameters()).device)

    def freeze(self) -> "SourceModel":
        """Switch to evaluation mode and stop gradients of the weights: perturbations are made against this state."""
        self.net.eval()
        for value in self.optimiser.param_groups[0]["params"]:
            value.requires_grad_(False)
        return self

    def unfreeze(self) -> "SourceModel":
        """Undo `freeze`; `train_step` turns training mode on."""
        for value in self.optimiser.param_groups[0]["params"]:
            value.requires_grad_(True)
        return self

    def state(self) -> dict[str, Tensor]:
        return optimiser_state(self.net, self.optimiser)
