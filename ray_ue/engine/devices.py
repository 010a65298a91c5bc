"""The device and the threads of a process: what Ray assigned to it and what its own node has, never what torch happens to see.

Ray no longer hides the GPUs of a node from work that asked for none (RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO), so `torch.cuda.is_available`
says nothing about what a process may use.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.train.torch
import torch


def assigned_device() -> torch.device:
    """The first GPU that Ray assigned to this task, actor or Train worker; the CPU where it assigned none, as to every driver."""
    if not ray.is_initialized() or not ray.get_gpu_ids() or not torch.cuda.is_available():
        return torch.device("cpu")
    return ray.train.torch.get_device()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch works with `count` threads while the block runs, and afterwards with as many as before: it may run in the driver."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def own_threads(planned: int) -> int:
    """The planned number of threads, as far as this node has cores: a plan may be made for larger ones."""
    return max(1, min(planned, os.cpu_count() or 1))
