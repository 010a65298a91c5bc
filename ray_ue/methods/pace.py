"""How fast a network goes forward and backward here, and in how much memory: measured, for the plan of a run. Knows no method."""

import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ray_ue.nets.classifiers import classifier
from ray_ue.sgd import losses

BATCH_CPU, BATCH_GPU, LEAST = 64, 512, 1.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Images a second, and bytes of an image while it is on its way; on a GPU its memory, else this process's."""

    images: float
    bytes: float


def pace(network: str, *, side: int, device: torch.device) -> Pace:
    """Through `network` and back to the images, as a sign step goes; about a second's work."""
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH_CPU, side, side, 3), dtype=np.uint8)
    net = classifier(network, side=side, classes=10, sample=pixels, seed=0).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.requires_grad_(False)
    count = BATCH_GPU if device.type == "cuda" else BATCH_CPU
    images = torch.rand((count, 3, side, side), device=device)
    targets = torch.full((count, 10), 0.1, device=device)
    _forget(device)
    held = _held(device)
    done, began = -1, 0.0
    while done < 1 or time.perf_counter() - began < LEAST:
        moved = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(losses(net, moved, targets).sum(), moved)
        float(slope.sum())  # waits for the device
        done += 1
        began = began or time.perf_counter()  # the first round is not counted
    spent = time.perf_counter() - began
    return Pace(images=done * count / spent, bytes=max(0.0, _held(device) - held) / count)


def _forget(device: torch.device) -> None:
    """An earlier peak of this process hides a lower one; Linux can set it back (proc_pid_clear_refs(5))."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _held(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
