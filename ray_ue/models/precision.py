"""The number format in which a network runs on a device: one choice, by what the card can do."""

import torch

AMPERE, VOLTA = (8, 0), (7, 0)  # compute capabilities: tensor cores for bf16, and for fp16


def precision(capability: tuple[int, int], *, slopes: bool) -> torch.dtype:
    """bf16 where the card computes in it; on older cards fp16 where no slope is asked, else fp32.

    Older cards emulate bf16 many times slower. In fp16 the slopes of images vanish, so that they would need scales of their own.
    """
    if capability >= AMPERE:
        return torch.bfloat16
    return torch.float16 if capability >= VOLTA and not slopes else torch.float32


def precision_on(device: torch.device) -> torch.dtype:
    """The number format of networks on a device, here and now: fp32 on a CPU, which is slower in anything else."""
    if device.type != "cuda":
        return torch.float32
    return precision(torch.cuda.get_device_capability(device), slopes=torch.is_grad_enabled())


def autocast(device: torch.device) -> torch.autocast:
    """The context in which networks run on a device."""
    dtype = precision_on(device)
    mixed = dtype != torch.float32
    return torch.autocast("cuda", dtype=dtype if mixed else torch.bfloat16, enabled=mixed)
