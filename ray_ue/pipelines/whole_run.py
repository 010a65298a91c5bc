"""What a whole run takes on this machine: the work of each stage is done on a few images, now, and timed."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ray_ue.config.recipe import SSL_BATCH, Recipe
from ray_ue.images.broken import Rejected
from ray_ue.images.codec import Limits, Picture, decode, decode_square, encode, resized
from ray_ue.images.quality import compare, deviation
from ray_ue.models.pretrained import specs
from ray_ue.perturbations.controls import noise_like
from ray_ue.progress import duration

if TYPE_CHECKING:
    import torch

    from ray_ue.methods.requirements import Requirements

START = 17.0  # seconds that a run takes beside its work: Python, Ray, and the processes that read and write; measured on two cores
ENCODER = 5.0  # seconds until an encoder is ready
BESIDE = 1.5  # times what a network alone takes on the cores that also read, decode and move pictures; measured on two
TIMED = 6  # images that are decoded and written


@dataclass(frozen=True, kw_only=True)
class WholeRun:
    """Seconds of each part of a run, by what it does."""

    parts: dict[str, float]

    def line(self) -> str:
        told = ", ".join(f"{name} {duration(seconds)}" for name, seconds in self.parts.items() if seconds >= 1)
        return f"about {duration(sum(self.parts.values()))} for the whole run on this machine alone ({told}; measured now on a few images)"


def whole_run(
    recipe: Recipe, needs: "Requirements", blobs: Sequence[bytes], *, rows: int, crafting: float, device: "torch.device"
) -> WholeRun:
    """`crafting` are its seconds; `blobs` are files of the collection."""
    cores = os.cpu_count() or 1
    limits, side = recipe.limits(), recipe.geometry()[1]
    viewed = seconds_each(blobs, lambda data: decode_square(data, size=side, limits=limits)) / cores
    written, verified = (seconds / cores for seconds in writing_and_verifying(recipe, blobs, limits))
    parts = {"starting": START}
    if needs.embeds:
        forward, parts["training the surrogate"] = network_seconds(recipe, side=side, device=device)
        parts["embedding"] = ENCODER + rows * (max(viewed, forward) if device.type == "cuda" else viewed + BESIDE * forward)
    parts |= {"crafting": crafting, "reading": min(recipe.craft_sample, rows) * viewed}
    return WholeRun(parts=parts | {"writing": rows * written, "verifying": rows * verified})


def writing_and_verifying(recipe: Recipe, blobs: Sequence[bytes], limits: Limits) -> tuple[float, float]:
    """Seconds an image on one core, with fresh noise in the place of the perturbation."""
    rng, copies = np.random.default_rng(0), {}

    def opened(data: bytes) -> tuple[Picture, np.ndarray]:
        clean = decode(data, limits=limits, moving=True)
        clean = resized(clean, size=recipe.resize) if recipe.resize else clean
        return clean, noise_like(clean.rgb, budget=recipe.levels(), rng=rng)

    def write(data: bytes) -> None:
        clean, rgb = opened(data)
        copies[data] = encode(Picture(rgb=rgb, alpha=clean.alpha, exif=b"", icc=clean.icc), format=recipe.image_format)
        compare(clean.rgb, rgb, ssim=False)

    def verify(data: bytes) -> None:
        clean, rgb = opened(data)
        deviation(clean.rgb, decode(copies.get(data, data), limits=limits).rgb)
        deviation(clean.rgb, rgb)

    return seconds_each(blobs, write), seconds_each(blobs, verify)


def seconds_each(blobs: Sequence[bytes], work: Callable[[bytes], object]) -> float:
    """The mean time of `work` on those of the files that can be read; 0 if none can."""
    spent, count = 0.0, 0
    for data in blobs[:TIMED]:
        began = time.perf_counter()
        try:
            work(data)
        except Rejected:
            continue
        spent, count = spent + time.perf_counter() - began, count + 1
    return spent / max(1, count)


def network_seconds(recipe: Recipe, *, side: int, device: "torch.device") -> tuple[float, float]:
    """Seconds an image through the surrogate, with random weights, and those of training it, if that is done here."""
    from ray_ue.methods._shared.throughput import forward_pace, pace

    spec = specs.parse(recipe.surrogate)
    net = specs.family(spec.kind).bare(spec.arch, side)
    forward = 1 / forward_pace(net, side=side, device=device)
    if spec.kind != "ssl":
        return forward, 0.0
    seen = 2 * recipe.ssl_steps * SSL_BATCH  # two views of each image
    return forward, seen / pace(net, side=side, device=device).images
