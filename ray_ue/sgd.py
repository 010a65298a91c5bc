"""One supervised loop and its accuracy: the victim. Knows uint8 pixels and integer labels, nothing of poisons."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from ray_ue.augment import crop, draw

Labels = Int[np.ndarray, " n"]
Block = UInt8[np.ndarray, "n h w 3"]

MEAN, STD = 0.5, 0.25  # the UC victims' centring; a quarter is closer to the spread of photographs than their half
DECAY, MOMENTUM = 5e-4, 0.9
WARM = 0.2  # share of the steps in which the rate climbs
CHUNK = 512  # images per forward pass when measuring


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """`epoch` passes are done; `loss` is its mean training loss, `accuracy` a share in [0, 1] of the test rows."""

    epoch: int
    loss: float
    accuracy: float


def floats(pixels: UInt8[np.ndarray, "B h w 3"], *, device: torch.device) -> Float[Tensor, "B 3 h w"]:
    """uint8 rows as [0, 1] images on the device, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float().div(255)


def _rate(step: int, steps: int, peak: float) -> float:
    """A straight climb, then half a cosine down to zero."""
    warm = WARM * steps
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def train(
    pixels: Block,
    labels: Labels,
    *,
    net: nn.Module,
    epochs: int,
    batch: int,
    lr: float,
    seed: int,
    device: torch.device,
    test: tuple[UInt8[np.ndarray, "m h w 3"], Int[np.ndarray, " m"]],
    flips: float = 0.5,
) -> Iterator[Epoch]:
    """Train `net` (normalised images -> logits) in place with random crops and flips, SGD with Nesterov momentum; yield every epoch.

    `flips` is the share of mirrored images: 0 for data in which left and right differ, such as digits.
    """
    if len(pixels) != len(labels):
        raise ValueError(f"{len(pixels)} images have {len(labels)} labels")
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(net.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)
    batches = math.ceil(len(pixels) / batch)
    rng = np.random.default_rng([seed, 11])
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for i, rows in enumerate(np.array_split(rng.permutation(len(pixels)), batches)):
            for group in optimiser.param_groups:
                group["lr"] = _rate(epoch * batches + i, epochs * batches, lr)
            side = pixels.shape[1]
            images = crop(floats(pixels[rows], device=device), draw(len(rows), canvas=side, size=side, flips=flips, rng=rng))
            target = torch.from_numpy(labels[rows].astype(np.int64)).to(device)
            loss = F.cross_entropy(_logits(net, images), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(rows)
        yield Epoch(epoch=epoch + 1, loss=total / len(pixels), accuracy=accuracy(net, *test))


def _logits(net: nn.Module, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B K"]:
    images = ((images - MEAN) / STD).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=images.is_cuda):
        return net(images).float()


@torch.no_grad()
def predict(net: nn.Module, pixels: Block) -> Int[np.ndarray, " n"]:
    """The class with the largest logit, in evaluation mode."""
    net.eval()
    device = next(net.parameters()).device
    parts = [_logits(net, floats(pixels[i : i + CHUNK], device=device)).argmax(1).cpu().numpy() for i in range(0, len(pixels), CHUNK)]
    return np.concatenate(parts)


def accuracy(net: nn.Module, pixels: Block, labels: Labels) -> float:
    """The share of rows that `net` names as `labels` does."""
    return float((predict(net, pixels) == labels).mean())
