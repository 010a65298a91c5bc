"""The device and the threads of a process: what Ray assigned to it and what its own node has, never what torch happens to see.

Ray no longer hides the GPUs of a node from work that asked for none (RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO), so `torch.cuda.is_available`
says nothing about what a process may use.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.train.torch
import torch

# Numbers of glibc's mallopt(3), and what they are set to: blocks up to `LARGEST` come from memory that the process keeps.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST, KEPT, PAD = 32 * 2**20, 2**31 - 1, 64 * 2**20


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


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, where its C library is glibc; whether it was asked.

    A network on the CPU asks for the same blocks in every step. glibc gives the large ones back to the kernel each time, which must then
    clear their pages anew: training Lite0 at 64 pixels spent a fifth of its time on that, and far more on a busy machine.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, KEPT), (M_TOP_PAD, PAD))
    return all(mallopt(name, value) == 1 for name, value in settings)


def own_threads(planned: int) -> int:
    """The planned number of threads, as far as this node has cores: a plan may be made for larger ones."""
    return max(1, min(planned, os.cpu_count() or 1))
