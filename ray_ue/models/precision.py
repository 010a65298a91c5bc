"""The number format in which a network runs on a device: one choice, by what the card or the processor can do."""

from functools import cache

import torch

AMPERE, VOLTA = (8, 0), (7, 0)  # compute capabilities: tensor cores for bf16, and for fp16


def precision(capability: tuple[int, int], *, slopes: bool) -> torch.dtype:
    """bf16 where the card computes in it; on older cards fp16 where no slope is asked, else fp32.

    Older cards emulate bf16 many times slower. In fp16 the slopes of images vanish, so that they would need scales of their own.
    """
    if capability >= AMPERE:
        return torch.bfloat16
    return torch.float16 if capability >= VOLTA and not slopes else torch.float32


def precision_on(device: torch.device, *, cpu: bool = False) -> torch.dtype:
    """The number format of networks on a device, here and now; on a CPU fp32, or with `cpu` bf16 where the processor multiplies it."""
    if device.type != "cuda":
        return torch.bfloat16 if cpu and multiplies_bf16() else torch.float32
    return precision(torch.cuda.get_device_capability(device), slopes=torch.is_grad_enabled())


def autocast(device: torch.device, *, cpu: bool = False) -> torch.autocast:
    """The context in which networks run on a device.

    `cpu` is for victims, which are trained anew wherever they are wanted; copies should not depend on the processor more than they must.
    """
    dtype = precision_on(device, cpu=cpu)
    mixed = dtype != torch.float32
    return torch.autocast(device.type, dtype=dtype if mixed else torch.bfloat16, enabled=mixed)


@cache
def multiplies_bf16() -> bool:
    """Whether this processor multiplies bf16 (AMX, or AVX-512's BF16): networks train at nearly twice the speed there."""
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in asked)
