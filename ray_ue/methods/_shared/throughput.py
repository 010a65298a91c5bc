"""The measured speed and memory of a forward and backward pass on this machine, for the plan of a run."""

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ray_ue.models.precision import autocast

BATCH_CPU, BATCH_GPU, LEAST = 64, 512, 1.0  # images of up to 64 pixels at once, and seconds
THUMBNAIL = 64
FEWER = 8  # times fewer of larger images


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Images a second, and bytes of an image while it is on its way; on a GPU its memory, else this process's."""

    images: float
    bytes: float


def pace(net: nn.Module, *, side: int, device: torch.device) -> Pace:
    """Through a network and back to its images, as a step of crafting goes; a second's work, or two batches' if that is more."""
    net = net.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    count = (BATCH_GPU if device.type == "cuda" else BATCH_CPU) // (1 if side <= THUMBNAIL else FEWER)
    images = torch.rand((count, 3, side, side), device=device).contiguous(memory_format=torch.channels_last)
    _reset_peak_memory(device)
    held = _peak_memory(device)

    def there_and_back() -> None:
        moved = images.clone().requires_grad_()
        with autocast(images.device):
            features = net(moved).float()
        (slope,) = torch.autograd.grad(features.square().sum(), moved)
        float(slope.sum())  # waits for the device

    return Pace(images=count * _rounds_a_second(there_and_back), bytes=max(0.0, _peak_memory(device) - held) / count)


def forward_pace(net: nn.Module, *, side: int, device: torch.device) -> float:
    """Images a second through a network alone, as embedding goes."""
    net = net.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    count = (BATCH_GPU if device.type == "cuda" else BATCH_CPU) // (1 if side <= THUMBNAIL else FEWER // 2)
    images = torch.rand((count, 3, side, side), device=device).contiguous(memory_format=torch.channels_last)

    def there() -> None:
        with torch.inference_mode(), autocast(images.device):
            float(net(images).float().sum())  # waits for the device

    return count * _rounds_a_second(there)


def _rounds_a_second(work: Callable[[], None]) -> float:
    """A second's rounds, or one if that is more; a first one is not counted."""
    work()
    done, began = 0, time.perf_counter()
    while done < 1 or time.perf_counter() - began < LEAST:
        work()
        done += 1
    return done / (time.perf_counter() - began)


def _reset_peak_memory(device: torch.device) -> None:
    """An earlier peak of this process hides a lower one; Linux can set it back (proc_pid_clear_refs(5))."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
