"""What a benchmark hands back, and what is known of the machine it ran on; knows nothing of what is measured."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from ray_ue.version import installed

PACKAGES = ("ray-ue", "ray", "torch", "torchvision", "open_clip_torch", "pillow", "pyarrow", "numpy", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One line of the table; `most` and `least` are the goal's bounds, and a line with neither is there to be read, not judged."""

    what: str
    value: float
    unit: str = ""
    least: float = float("-inf")
    most: float = float("inf")
    detail: dict[str, object] = field(default_factory=dict)

    @property
    def goal(self) -> str:
        parts = [f">= {self.least:g}" if self.least > float("-inf") else "", f"<= {self.most:g}" if self.most < float("inf") else ""]
        return " and ".join(part for part in parts if part)

    @property
    def verdict(self) -> Literal["", "met", "missed"]:
        if not self.goal:
            return ""
        return "met" if self.least <= self.value <= self.most else "missed"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a benchmark may use: an empty folder, where photographs may lie, whether to be quick rather than exact, and the device."""

    scratch: Path
    photos: Path
    quick: bool
    device: torch.device


Measured = Callable[[Bench], Iterator[Measure]]


def cores() -> int:
    return os.cpu_count() or 1


def machine() -> dict[str, object]:
    """Facts without which no number can be compared with another's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_gib": round(total / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
    }


def cpu_model() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
