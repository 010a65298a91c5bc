"""Contrastive training by SimCLR or MoCo, and its batch augmentations: features from images alone."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ray_ue.colour import HUE, JITTER, hue_rotations, luma_weights
from ray_ue.loop import Step, Workers, adam_state, average_in_place, generator, read_loss, restore_adam, seeded, seeded_weights, with_prefix
from ray_ue.models.normalization import floats, normalise
from ray_ue.models.precision import autocast
from ray_ue.models.small import Backbone
from ray_ue.models.sync_batchnorm import gather_rows, with_sync_batchnorm
from ray_ue.random_streams import STREAMS
from ray_ue.types import PixelBlock

TAU = 0.2  # between SimCLR's 0.5 for CIFAR and 0.1 for ImageNet, and the UC authors' 0.07: small batches want it soft
WIDTH = 128  # the projection that SimCLR compares
QUEUE, FOLLOW = 4096, 0.99  # MoCo's for CIFAR: keys kept, and how much of itself the slow copy keeps per step
RATE, DECAY = 1e-3, 1e-5
LEAST = 0.25  # smallest share of the area that a view keeps (SimCLR: 0.08 at 224 pixels)
GREY = 0.2  # of SimCLR's CIFAR strengths; the others are those of `images.colour`


@dataclass(frozen=True, kw_only=True, eq=False)
class RowDraws:
    """Random numbers for the rows `own` of a batch of `total`, drawn for the whole batch: they do not depend on who holds which row."""

    rng: torch.Generator
    total: int
    own: slice = field(default_factory=lambda: slice(None))

    def uniform(self, low: float, high: float) -> Float[Tensor, "B 1 1 1"]:
        return (low + (high - low) * torch.rand((self.total, 1, 1, 1), generator=self.rng))[self.own]


def resized_crop(images: Float[Tensor, "B 3 H W"], draws: RowDraws) -> Float[Tensor, "B 3 H W"]:
    """A random part of each image, stretched back to full size and mirrored half of the time, in one bilinear sampling."""
    area, ratio = draws.uniform(LEAST, 1).flatten(), torch.exp(draws.uniform(math.log(3 / 4), math.log(4 / 3))).flatten()
    wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    shift_x, shift_y = (draws.uniform(-1, 1).flatten() * (1 - side) for side in (wide, high))
    mirror = torch.where(draws.uniform(0, 1).flatten() < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(wide)
    theta = torch.stack([torch.stack([wide * mirror, zero, shift_x], 1), torch.stack([zero, high, shift_y], 1)], 1)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def recolour(images: Float[Tensor, "B 3 H W"], draws: RowDraws) -> Float[Tensor, "B 3 H W"]:
    """Random brightness, contrast, saturation and hue for four images in five, then grey for one in five."""
    device = images.device
    luma = luma_weights(images)
    bright, contrast, colour = (draws.uniform(1 - JITTER, 1 + JITTER).to(device) for _ in range(3))
    angle = draws.uniform(-HUE * 2 * math.pi, HUE * 2 * math.pi).flatten().to(device)
    changed = images * bright
    changed = torch.lerp((changed * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True), changed, contrast)
    grey = (changed * luma).sum(1, keepdim=True)
    changed = (grey + torch.einsum("bij,bjhw->bihw", hue_rotations(angle), (changed - grey) * colour)).clamp(0, 1)
    images = torch.where(draws.uniform(0, 1).to(device) < 0.8, changed, images)
    return torch.where(draws.uniform(0, 1).to(device) < GREY, (images * luma).sum(1, keepdim=True), images)


def view(images: Float[Tensor, "B 3 H W"], draws: RowDraws) -> Float[Tensor, "B 3 H W"]:
    """One of SimCLR's two views of each image; without blur, as its authors do at 32 pixels."""
    return recolour(resized_crop(images, draws), draws)


def nt_xent(first: Float[Tensor, "B D"], second: Float[Tensor, "B D"], *, tau: float) -> Float[Tensor, ""]:
    """The normalised temperature-scaled cross entropy of SimCLR (Chen et al. 2020, equation 1)."""
    vectors = F.normalize(torch.cat([first, second]), dim=1)
    likeness = vectors @ vectors.T / tau
    likeness.fill_diagonal_(-torch.inf)
    count = len(first)
    return F.cross_entropy(likeness, torch.arange(2 * count, device=first.device).roll(count))


def projector(width: int) -> nn.Sequential:
    """The head whose outputs SimCLR compares."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, WIDTH))


ContrastiveLoss = Callable[[Tensor, Tensor], Float[Tensor, ""]]  # of two views of this worker's images of a batch; equal on all workers
Gather = Callable[[Float[Tensor, "b D"]], Float[Tensor, "B D"]]  # this worker's rows -> those of the whole batch


def simclr(encoder: nn.ModuleDict, *, rows: int, batch: int, seed: int, gather: Gather) -> tuple[ContrastiveLoss, nn.Module]:
    """The loss of SimCLR, which keeps no state of its own."""

    def loss_of(first: Tensor, second: Tensor) -> Tensor:
        one, two = _project(encoder, torch.cat([first, second])).chunk(2)
        return nt_xent(gather(one), gather(two), tau=TAU)

    return loss_of, nn.ModuleDict()


def moco(encoder: nn.ModuleDict, *, rows: int, batch: int, seed: int, gather: Gather) -> tuple[ContrastiveLoss, nn.Module]:
    """The loss of MoCo v2 (Chen et al. 2020), and its state: keys from a slowly following copy, negatives from a queue of earlier keys."""
    slow = copy.deepcopy(encoder).requires_grad_(False)
    noise = torch.randn((min(QUEUE, max(batch, rows // 2)), WIDTH), generator=torch.Generator().manual_seed(seed + 2))
    slow.register_buffer("queue", F.normalize(noise, dim=1).to(next(encoder.parameters()).device))

    def loss_of(first: Tensor, second: Tensor) -> Tensor:
        with torch.no_grad():
            for slow_weight, weight in zip(slow.parameters(), encoder.parameters(), strict=True):
                slow_weight.lerp_(weight, 1 - FOLLOW)
            keys = F.normalize(gather(_project(slow, second)), dim=1)
        queries = F.normalize(gather(_project(encoder, first)), dim=1)
        queue = slow.get_buffer("queue")
        likeness = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ queue.T], 1) / TAU
        slow.register_buffer("queue", torch.cat([keys, queue])[: len(queue)])
        return F.cross_entropy(likeness, torch.zeros(len(likeness), dtype=torch.long, device=likeness.device))

    return loss_of, slow


OBJECTIVES = {"simclr": simclr, "moco": moco}


def _project(encoder: nn.ModuleDict, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
    with autocast(images.device):
        return encoder["head"](encoder["net"](normalise(images))).float()


def contrast(
    pixels: PixelBlock,
    *,
    net: Backbone,
    steps: int,
    batch: int,
    seed: int,
    device: torch.device,
    workers: Workers,
    resume: Mapping[str, Tensor],
    objective: Literal["simclr", "moco"] = "simclr",
) -> Iterator[Step]:
    """Train `net` in place by Adam under half a cosine, on the loss between two views of each batch; an empty `resume` starts anew.

    Worker r embeds rows r::world of every batch; projections are gathered and batch norm is over the whole batch, so that any number of
    workers trains the same network, up to rounding (and to what a network drops out, which each worker draws by itself).
    """
    if len(pixels) < 2:
        raise ValueError(f"contrastive training needs at least 2 images, got {len(pixels)}")
    size, own = min(batch, len(pixels)), slice(workers.rank, None, workers.world)
    if size < workers.world:
        raise ValueError(f"contrastive training gives each worker an image of every batch, but {size} are too few for {workers.world}")
    with seeded_weights(seed + 1):
        head = projector(net.width)
    encoder = nn.ModuleDict({"net": net, "head": head})
    with_sync_batchnorm(encoder, workers=workers).to(device).train()
    gather = partial(gather_rows, own=own, total=size, workers=workers)
    loss_of, kept = OBJECTIVES[objective](encoder, rows=len(pixels), batch=batch, seed=seed, gather=gather)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=RATE, weight_decay=DECAY)
    if resume:
        encoder.load_state_dict({name: value for name, value in resume.items() if name.startswith(("net.", "head."))})
        restore_adam(optimiser, resume)
        kept.load_state_dict(with_prefix("kept.", resume))
    for step in range(int(resume["step"]) if resume else 0, steps):
        drawn = np.sort(np.random.default_rng([seed, step, STREAMS["ssl/rows"]]).choice(len(pixels), size, replace=False))
        images = floats(pixels[drawn[own]], device=device)
        draws = RowDraws(rng=generator(seed, step, 0), total=size, own=own)
        encoder.train()  # whoever looked at the net since the last step may have left it in evaluation mode
        with seeded(seed, 23, step, workers.rank, device=device):
            loss = loss_of(view(images, draws), view(images, draws))
        optimiser.zero_grad()
        loss.backward()
        average_in_place([value.grad for value in encoder.parameters() if value.grad is not None], workers)
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.step()
        shown = read_loss(loss.detach(), what=f"the contrastive loss at step {step}", advice="are the pictures all alike?")
        state = partial(_state, encoder, optimiser, kept, step + 1)
        yield Step(step=step + 1, steps=steps, loss_of=shown, images=(step + 1) * size, state=state)


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's state dict inside a loop's state: what `surrogates.load` takes."""
    return with_prefix("net.", state)


def _state(encoder: nn.ModuleDict, optimiser: torch.optim.Adam, kept: nn.Module, step: int) -> dict[str, Tensor]:
    others = {f"kept.{name}": value for name, value in kept.state_dict().items()}
    tensors = encoder.state_dict() | adam_state(optimiser) | others | {"step": torch.tensor(step)}
    return {name: value.detach().clone() for name, value in tensors.items()}
