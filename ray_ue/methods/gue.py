"""Game unlearnable examples (GUE; Liu et al. 2024, AAAI): a generator leads, a classifier follows, one first-order step moves both.

The generator sees the image alone, no label: once trained it perturbs new images of the kind in one pass.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ray_ue.loop import Step, Workers, joint_state, no_loss, read_loss, seeded_weights, to_cpu, with_prefix
from ray_ue.methods._shared.delta_method import NetworkMethod
from ray_ue.methods._shared.delta_updates import DeltaUpdates, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, Sampler, largest_batch
from ray_ue.methods._shared.source_model import SourceModel, check_network, refuse_several_workers
from ray_ue.methods.base import Aimed, View
from ray_ue.models.unet import UNet
from ray_ue.perturbations.budget import Budget

WIDTH = 32  # of the U-Net: the authors' is not recovered
Slopes = Sequence[Float[Tensor, "..."]]


@dataclass(frozen=True, kw_only=True)
class GUE(NetworkMethod):
    """BOME (Liu et al. 2022): a clone of `network` takes `inner` Adam steps on the poison to tell how far the follower is from its best.

    The leader wants that the follower gives clean images every wrong group; `eta` is how strongly the follower is kept at its best.
    """

    per = "image"
    single_worker = True
    epochs: int = 50
    batch: int = 256
    inner: int = 10
    inner_rate: float = 1e-4
    eta: float = 1.5
    network: str = "resnet18"
    learning_rate: float = 0.1
    follower_rate: float = 0.01

    def __post_init__(self) -> None:
        check_network(self.network)
        if min(self.epochs, self.batch, self.inner) < 1 or min(self.inner_rate, self.eta, self.learning_rate, self.follower_rate) <= 0:
            raise ValueError(f"GUE needs epochs, batch, inner, eta and rates above zero, got {self}")

    def peak_batch(self, rows: int, *, pools: int) -> int:
        return max(2 * min(self.batch, rows), largest_batch(rows, pools=pools, batch=SETTLED))

    def passes(self, rows: int) -> int:
        return self.epochs * rows * (self.inner + 3) + rows

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        refuse_several_workers(workers, method="gue")
        deltas = open_deltas(view, budget=budget, workers=workers, resume=resume)
        sampler = Sampler(view=view, workers=workers, seed=seed)
        source = SourceModel.create(self.network, sampler=sampler, decay=0.0, resume={})
        with seeded_weights(seed + 2):
            leader = UNet(width=WIDTH).to(view.surrogate.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if resume:
            source.net.load_state_dict(with_prefix("net.", resume))
            leader.load_state_dict(with_prefix("leader.", resume))
        per_epoch, rows = sampler.per_epoch(batch=self.batch), len(view.pixels)
        trained, trained_passes = self.epochs * per_epoch, self.epochs * rows * (self.inner + 3)
        loss_of = no_loss
        for step in range(int(resume["step"]) if resume else 0, trained + 1):
            if step < trained:
                epoch, turn = divmod(step, per_epoch)
                batch = sampler.training(epoch, batch=self.batch)[turn]
                with source.seeded_dropout(epoch, turn):
                    loss_of = self._step_both(source, leader, sampler.images(batch), sampler.targets(batch)[0], budget=budget)
            else:
                self._settle(deltas, leader, sampler, budget=budget)
            yield Step(
                step=step + 1,
                steps=trained + 1,
                loss_of=loss_of,
                images=trained_passes * (step + 1) // trained if step < trained else self.passes(rows),
                state=joint_state(partial(_weights, source, leader), deltas.state, step=step + 1),
                saved="must" if step + 1 >= trained else "may",
            )

    def _step_both(self, source: SourceModel, leader: nn.Module, images: Images, targets: Tensor, *, budget: Budget) -> Callable[[], float]:
        """One step of both; returns the `loss_of` of the follower on the poison."""
        source.net.train()
        leader.train()
        lead, follow = list(leader.parameters()), [value for value in source.net.parameters() if value.requires_grad]
        perturbed = (images + budget.radius * leader(images)).clamp(0, 1)
        loss = F.cross_entropy(source.logits(perturbed)[0], targets)
        best = self._loss_after_training(source, perturbed.detach(), targets)
        slopes_of_loss, slopes_of_best = (_slopes(value, lead, keep=True) for value in (loss, best(perturbed)))
        gap_lead = [slope - best_slope for slope, best_slope in zip(slopes_of_loss, slopes_of_best, strict=True)]
        gap_follow = _slopes(loss, follow, keep=False)
        clean = -source.logits(images)[0].log_softmax(1)
        wrong = clean.masked_fill(targets[:, None] == torch.arange(clean.shape[1], device=clean.device), -torch.inf).amax(1).mean()
        wanted = _slopes(wrong, follow, keep=False)
        size = sum_all(slope.square() for slope in (*gap_lead, *gap_follow))
        along = sum_all(one * two for one, two in zip(wanted, gap_follow, strict=True))
        weight = (self.eta - along / size.clamp(min=1e-12)).clamp(min=0)
        with torch.no_grad():
            for value, slope in zip(lead, gap_lead, strict=True):
                value -= self.learning_rate * weight * slope
            for value, slope, wish in zip(follow, gap_follow, wanted, strict=True):
                value -= self.follower_rate * (wish + weight * slope)
        return read_loss(loss.detach(), what="the GUE follower's loss", advice=f"lower --learning-rate {self.learning_rate:g}")

    def _loss_after_training(self, source: SourceModel, perturbed: Images, targets: Tensor) -> Callable[[Images], Tensor]:
        """The loss of a clone that has learnt this batch for a while, as a function of the batch."""
        clone = source.clone()
        adam = torch.optim.Adam([value for value in clone.net.parameters() if value.requires_grad], lr=self.inner_rate)
        for _ in range(self.inner):
            adam.zero_grad()
            F.cross_entropy(clone.logits(perturbed)[0], targets).backward()
            adam.step()
        return lambda images: F.cross_entropy(clone.logits(images)[0], targets)

    @staticmethod
    def _settle(deltas: DeltaUpdates, leader: nn.Module, sampler: Sampler, *, budget: Budget) -> None:
        leader.eval()

        def make(rows: Rows) -> tuple[Images, Images]:
            images = sampler.images(rows)
            with torch.no_grad():
                return images, budget.radius * leader(images)

        deltas.assign(sampler.pooled(0, batch=SETTLED), make)


SETTLED = 256  # images that the finished generator draws for at once


def sum_all(tensors: Iterable[Tensor]) -> Float[Tensor, ""]:
    """The sum of all numbers, in float64 on their device."""
    return torch.stack([tensor.sum().double() for tensor in tensors]).sum()


def _weights(source: SourceModel, leader: nn.Module) -> dict[str, Tensor]:
    weights = {f"net.{name}": value for name, value in source.net.state_dict().items()}
    return to_cpu(weights | {f"leader.{name}": value for name, value in leader.state_dict().items()})


def _slopes(value: Tensor, of: list[nn.Parameter], *, keep: bool) -> Slopes:
    slopes = torch.autograd.grad(value, of, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(where) if slope is None else slope for slope, where in zip(slopes, of, strict=True)]
