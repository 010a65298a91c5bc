"""Clocks that wait for the device: rates, the share of time in which a device works, and the most memory that some work takes."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

ROUNDS = 3


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spent(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    wait(device)
    began = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - began


def rate(work: Callable[[], object], *, items: int, seconds: float, device: torch.device) -> float:
    """Items a second of calls of `items` each, for `seconds` at least; the first two calls warm up."""
    work()
    work()
    wait(device)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        calls += 1
        if calls % 8 == 0:
            wait(device)  # what is asked must not run ahead of what is done
    wait(device)
    return calls * items / (time.perf_counter() - began)


def in_turn(first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float]:
    """The medians of two rates that are measured in turn, so that a busy machine slows both."""
    pairs = [(first(), second()) for _ in range(ROUNDS)]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def busy_share(work: Callable[[], object], device: torch.device) -> float:
    """The share of the time of one call in which the GPU works; 1 on a CPU, whose work is the call's own."""
    if device.type != "cuda":
        return 1.0
    work()
    whole = spent(work, device)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        wait(device)
    return min(1.0, sum(event.self_device_time_total for event in seen.key_averages()) / 1e6 / whole)
