"""What a check hands back, and what it may use; knows nothing of what is checked."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch

from benchmarks.gpu.pictures import Pictures

NO_BARE = math.nan
OPEN = (-math.inf, math.inf)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a value and, in the same unit, its `bare` limit, which the same process has measured.

    `least` and `most` bound the value's share of the bare limit where there is one, else the value itself. A `law` must hold on every
    machine and `pytest -m gpu` asserts it; other goals depend on the card.
    """

    what: str
    value: float
    unit: str = ""
    bare: float = NO_BARE
    least: float = OPEN[0]
    most: float = OPEN[1]
    law: bool = False
    detail: dict[str, object] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of the bare limit; no number where there is none."""
        return self.value / self.bare if self.bare else NO_BARE

    @property
    def judged(self) -> float:
        return self.value if math.isnan(self.bare) else self.share

    @property
    def goal(self) -> str:
        parts = [f">= {self.least:g}" if self.least > OPEN[0] else "", f"<= {self.most:g}" if self.most < OPEN[1] else ""]
        bounds = " and ".join(part for part in parts if part)
        return f"{bounds} of bare" if bounds and not math.isnan(self.bare) else bounds

    @property
    def verdict(self) -> Literal["", "met", "missed"]:
        if not self.goal:
            return ""
        return "met" if self.least <= self.judged <= self.most else "missed"

    def plain(self) -> dict[str, object]:
        """What JSON can hold, with the verdict; numbers that are none or have no end are left out."""
        values: dict[str, object] = {name: value for name, value in asdict(self).items() if not _endless(value)}
        return values | {"goal": self.goal, "verdict": self.verdict}


def _endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a check may use: the device that the caller named, pictures, an empty folder; `tiny` sizes show only that it runs."""

    device: torch.device
    tiny: bool
    pictures: Pictures
    scratch: Path

    @property
    def seconds(self) -> float:
        """That a speed is measured for, at least."""
        return 0.1 if self.tiny else 1.5

    def size(self, tiny: int, full: int) -> int:
        return tiny if self.tiny else full


@dataclass(frozen=True, kw_only=True)
class Check:
    """`work` gives the rows; one that has not ended after `seconds` is given up."""

    about: str
    work: Callable[[Setting], Iterator[Row]]
    seconds: float
