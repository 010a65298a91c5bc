"""What happens to a published picture before a network sees it, as batch functions that slopes pass through; it knows no network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ray_ue.colour import HUE, JITTER, jitter, luma_weights, normalise_channels
from ray_ue.images.jpeg import GRID, through_jpeg
from ray_ue.registry import pick
from ray_ue.types import Rng

AREAS, RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)  # of a random resized crop: torchvision's defaults, which most training code keeps
QUALITIES = (30, 95)
SIGMAS = (0.5, 1.5)  # pixels of a mild blur; ours
NUMBERS = 4  # that a process may draw for an image

Images = Float[Tensor, "B 3 h w"]
Numbers = Float[np.ndarray, "B 4"]  # from 0 to 1
Process = Callable[[Images, Numbers], Images]


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """One process per image, as a place in `names`, and the random numbers that it may use."""

    names: tuple[str, ...]
    which: Int[np.ndarray, " B"]
    numbers: Numbers

    def of(self, rows: slice | Bool[np.ndarray, " B"]) -> "Draws":
        """The same draws for some images of the batch."""
        return Draws(names=self.names, which=self.which[rows], numbers=self.numbers[rows])


def parse_processes(text: str) -> tuple[str, ...]:
    """The names in `text`, which a plus divides: jpeg+gray. A `ValueError` if there is no such process."""
    names = tuple(word.strip() for word in text.split("+"))
    for name in names:
        pick(PROCESSES, name, what="process")
    return names


def draw_processes(count: int, *, names: tuple[str, ...], rng: Rng) -> Draws:
    """For each of `count` images one of `names`, all equally likely; a name that stands twice is twice as likely."""
    return Draws(names=names, which=rng.integers(0, len(names), count), numbers=rng.random((count, NUMBERS)))


def process(images: Images, draws: Draws) -> Images:
    """Every [0, 1] image through its process, at the size that it has; differentiable, and without scattered adds."""
    if {*draws.names} == {"none"} or not len(images):
        return images
    order = np.argsort(draws.which, kind="stable")
    counts = np.bincount(draws.which, minlength=len(draws.names))
    parts = _Reordered.apply(images, order).split(counts.tolist())
    numbers = np.split(draws.numbers[order], np.cumsum(counts)[:-1])
    shown = [PROCESSES[name](part, own) if len(part) else part for name, part, own in zip(draws.names, parts, numbers, strict=True)]
    return _Reordered.apply(torch.cat(shown), np.argsort(order))


class _Reordered(torch.autograd.Function):
    """Row i of the result is row `order[i]`; its slope is the other way round: torch's own would add up where nothing is to be added."""

    @staticmethod
    def forward(ctx: Any, rows: Images, order: Int[np.ndarray, " B"]) -> Images:
        ctx.order = order
        return rows[torch.from_numpy(order).to(rows.device)]

    @staticmethod
    def backward(ctx: Any, gradient: Images) -> tuple[Images, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient[torch.from_numpy(np.argsort(ctx.order)).to(gradient.device)], None


def unchanged(images: Images, numbers: Numbers) -> Images:
    return images


def flip(images: Images, numbers: Numbers) -> Images:
    """Left and right change places."""
    return images.flip(-1)


def gray(images: Images, numbers: Numbers) -> Images:
    """Luma in all three channels."""
    return (images * luma_weights(images)).sum(1, keepdim=True).expand_as(images)


def blur(images: Images, numbers: Numbers) -> Images:
    """A Gaussian of a random sigma, cut off at the edges; two matrix products."""
    steps = np.arange(max(images.shape[2:]))
    sigma = _between(SIGMAS, numbers[:, 0])[:, None, None]
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / sigma) ** 2)
    down, across = (weights[:, :side, :side] for side in images.shape[2:])
    return _mixed(images, down=down, across=across)


def resized_crop(images: Images, numbers: Numbers) -> Images:
    """A part of random area, ratio and place, scaled bilinearly to the size of the whole; two matrix products."""
    high, wide = images.shape[2:]
    area, ratio = _between(AREAS, numbers[:, 0]), np.exp(_between(tuple(np.log(RATIOS)), numbers[:, 1]))
    parts = []
    for side, share, start in zip((high, wide), (area / ratio, area * ratio), numbers[:, 2:].T, strict=True):
        length = side * np.minimum(1, np.sqrt(share))[:, None]
        places = start[:, None] * (side - length) + (np.arange(side) + 0.5) * length / side - 0.5
        parts.append(np.maximum(0, 1 - np.abs(np.clip(places, 0, side - 1)[:, :, None] - np.arange(side))))
    return _mixed(images, down=parts[0], across=parts[1])


def jpeg(images: Images, numbers: Numbers) -> Images:
    """Through a JPEG file (4:2:0) of random quality, whose blocks begin at a random place; what the file removes has no slope."""
    qualities = QUALITIES[0] + (numbers[:, 0] * (QUALITIES[1] - QUALITIES[0] + 1)).astype(int)
    tops, lefts = (numbers[:, 1:3] * GRID).astype(int).T
    return through_jpeg(images, qualities=qualities, tops=tops, lefts=lefts)


def colour_jitter(images: Images, numbers: Numbers) -> Images:
    """Brightness, contrast, saturation and hue changed as an exploiter's colour jitter does."""
    ends = (1 - JITTER, 1 + JITTER)
    bright, contrast, colour = (torch.from_numpy(_between(ends, numbers[:, place])).to(images).view(-1, 1, 1, 1) for place in range(3))
    angle = torch.from_numpy(2 * np.pi * _between((-HUE, HUE), numbers[:, 3])).to(images)
    return jitter(images, bright=bright, contrast=contrast, colour=colour, angle=angle)


def normalise(images: Images, numbers: Numbers) -> Images:
    """Every channel at the same mean and standard deviation."""
    return normalise_channels(images)


PROCESSES: dict[str, Process] = {
    "none": unchanged,
    "rrc": resized_crop,
    "flip": flip,
    "jpeg": jpeg,
    "gray": gray,
    "blur": blur,
    "jitter": colour_jitter,
    "picn": normalise,
}


def _between(ends: tuple[float, float], share: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    return ends[0] + (ends[1] - ends[0]) * share


def _mixed(images: Images, *, down: Float[np.ndarray, "B h h"], across: Float[np.ndarray, "B w w"]) -> Images:
    """Each image's rows mixed by its matrix `down` and its columns by `across`; the weights of a place are made to sum to 1."""
    rows, columns = (
        torch.from_numpy((weights / weights.sum(2, keepdims=True)).astype(np.float32)).to(images.device)[:, None]
        for weights in (down, across)
    )
    return rows @ images @ columns.transpose(2, 3)
