"""One supervised loop and its accuracy: the victim. Knows a training set and a schedule, nothing of poisons and no defense by name."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from ray_ue.augment import draw, pack, take
from ray_ue.schedules import Schedule
from ray_ue.steps import Workers, average, optimiser_state, restore_optimiser, seeded, under
from ray_ue.training import Block, Labels, Moment, Training

MEAN, STD = 0.5, 0.25  # the UC victims' centring; a quarter is closer to the spread of photographs than their half
CHUNK = 512  # images per forward pass when measuring


class Diverged(ValueError):
    """The training loss is no finite number any more: the same settings and seed would do it again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Epoch:
    """`epoch` of `epochs` passes are done, `images` image passes in all; `loss` is the mean training loss of this one.

    `state()` copies all that resuming needs into a flat dict; call it before asking for the next epoch.
    """

    epoch: int
    epochs: int
    loss: float
    images: int
    state: Callable[[], dict[str, Tensor]]


def floats(pixels: UInt8[np.ndarray, "B h w 3"], *, device: torch.device) -> Float[Tensor, "B 3 h w"]:
    """uint8 rows as [0, 1] images on the device, channels last in memory."""
    return torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).float().div(255)


def _rate(step: int, steps: int, schedule: Schedule) -> float:
    warm = schedule.warm * steps
    if step < warm:
        return schedule.lr * (step + 1) / (warm + 1)
    fallen = 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
    return schedule.floor + (schedule.lr - schedule.floor) * fallen


def train(
    training: Training,
    *,
    net: nn.Module,
    schedule: Schedule,
    size: int,
    flips: float,
    seed: int,
    device: torch.device,
    workers: Workers,
    resume: Mapping[str, Tensor],
    compiled: bool = False,
) -> Iterator[Epoch]:
    """Train `net` (normalised `size` x `size` images -> logits) in place on random crops and flips; yield after every epoch.

    The rows are resident on the device as uint8; with several workers each holds its own share and gradients are averaged. `flips` is
    the share of mirrored images: 0 for data in which left and right differ, such as digits. With a hold-out, the net of the epoch that
    does best on it is what remains in the end. Raises `Diverged` when the loss is not finite.
    """
    mine = np.random.default_rng([seed, 3]).permutation(len(training.pixels))[workers.rank :: workers.world] if workers.world > 1 else None
    pixels = pack(training.pixels if mine is None else training.pixels[mine], device=device)
    labels = torch.from_numpy((training.labels if mine is None else training.labels[mine]).astype(np.int64)).to(device)
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = torch.compile(net) if compiled else net
    weights = [value for value in net.parameters() if value.requires_grad]
    nesterov = {"momentum": schedule.momentum, "weight_decay": schedule.decay, "nesterov": schedule.nesterov}
    optimiser = torch.optim.SGD(weights, lr=schedule.lr, **nesterov)  # type: ignore[arg-type]
    batches = math.ceil(len(training.pixels) / schedule.batch)
    best = _restore(net, optimiser, resume)
    begun = int(resume["epoch"]) if resume else 0
    steps = schedule.epochs * batches
    for epoch in range(begun, schedule.epochs):
        rng = np.random.default_rng([seed, 11, epoch, workers.rank])
        total = torch.zeros((), device=device)
        for i, rows in enumerate(np.array_split(rng.permutation(len(pixels)), batches)):
            step = epoch * batches + i
            for group in optimiser.param_groups:
                group["lr"] = _rate(step, steps, schedule)
            chosen = torch.from_numpy(rows).to(device)
            images = take(pixels, chosen, draw(len(rows), canvas=pixels.shape[1], size=size, flips=flips, rng=rng))
            targets = F.one_hot(labels[chosen], training.classes).float()
            moment = Moment(loss=lambda seen, aims: losses(net, seen, aims), rng=rng, done=step / steps)
            for alter in training.alters:
                images, targets = alter(images, targets, moment)
            net.train()
            with seeded(seed, 23, step, workers.rank, device=device):
                loss = F.cross_entropy(_logits(run, images), targets, label_smoothing=schedule.smoothing)
            optimiser.zero_grad()
            loss.backward()
            average([value.grad for value in weights if value.grad is not None], workers)
            optimiser.step()
            total += loss.detach() * len(rows)
        average(net.buffers(), workers)
        mean = float(workers.total(total)) / len(training.pixels)
        if not math.isfinite(mean):
            raise Diverged(f"the training loss is {mean} in epoch {epoch + 1}; a lower --learning-rate than {schedule.lr:g} may work")
        if len(training.holdout[1]):
            best = _better(best, net, training, size=size)
            if epoch + 1 == schedule.epochs:
                net.load_state_dict(best.weights)
        yield Epoch(
            epoch=epoch + 1,
            epochs=schedule.epochs,
            loss=mean,
            images=(epoch + 1) * len(training.pixels),
            state=lambda done=epoch + 1, best=best: _state(net, optimiser, best, done),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Best:
    """The weights that did best on the hold-out so far, and how well."""

    accuracy: float
    weights: dict[str, Tensor]


def _better(best: _Best, net: nn.Module, training: Training, *, size: int) -> _Best:
    here = accuracy(net, *training.holdout, size=size)
    if here <= best.accuracy:
        return best
    return _Best(accuracy=here, weights={name: value.detach().clone() for name, value in net.state_dict().items()})


def _state(net: nn.Module, optimiser: torch.optim.SGD, best: _Best, epoch: int) -> dict[str, Tensor]:
    kept = {f"best.{name}": value.detach().cpu().clone() for name, value in best.weights.items()}
    ends = {"epoch": torch.tensor(epoch), "best_accuracy": torch.tensor(best.accuracy, dtype=torch.float64)}
    return optimiser_state(net, optimiser) | kept | ends


def _restore(net: nn.Module, optimiser: torch.optim.SGD, resume: Mapping[str, Tensor]) -> _Best:
    if not resume:
        return _Best(accuracy=-1.0, weights={})
    restore_optimiser(net, optimiser, resume)
    return _Best(accuracy=float(resume["best_accuracy"]), weights=under("best.", resume))


def _logits(net: Callable[[Tensor], Tensor], images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B K"]:
    images = ((images - MEAN) / STD).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=images.is_cuda):
        return net(images).float()


def losses(net: nn.Module, images: Float[Tensor, "B 3 h w"], targets: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """Each image's cross-entropy in evaluation mode, differentiable in the images; the net's own mode is left as it was."""
    was = net.training
    net.eval()
    found = F.cross_entropy(_logits(net, images), targets, reduction="none")
    net.train(was)
    return found


@torch.no_grad()
def predict(net: nn.Module, pixels: Block, *, size: int) -> Int[np.ndarray, " n"]:
    """The class with the largest logit for the centre `size` x `size` of each image, in evaluation mode."""
    net.eval()
    device = next(net.parameters()).device
    low = (pixels.shape[1] - size) // 2
    middle = pixels[:, low : low + size, low : low + size]
    parts = [_logits(net, floats(middle[i : i + CHUNK], device=device)).argmax(1).cpu().numpy() for i in range(0, len(pixels), CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def accuracy(net: nn.Module, pixels: Block, labels: Labels, *, size: int) -> float:
    """The share of rows that `net` names as `labels` does."""
    return float((predict(net, pixels, size=size) == labels).mean())
