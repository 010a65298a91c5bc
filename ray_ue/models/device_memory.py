"""Whether what a loop reads again and again may stay in a device's memory, or is read from its file for each batch."""

import os
from pathlib import Path

import torch

SHARE = {"cuda": 0.5, "cpu": 0.25}  # of what is free: networks, their gradients and other processes need the rest
MEMINFO = Path("/proc/meminfo")


def free_bytes(device: torch.device) -> int:
    """What is free now: on the GPU, or of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = MEMINFO.read_text().splitlines() if MEMINFO.exists() else []
    available = next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)
    return available or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def fits(need: int, *, device: torch.device, free: int) -> bool:
    """Whether `need` bytes may stay on a device of which `free` bytes are free."""
    return need <= SHARE[device.type] * free
