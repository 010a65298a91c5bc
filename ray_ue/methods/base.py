"""What a method is, and what it may look at: a sample of the collection, its slots and a surrogate. Knows no files and no engine."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from torch import Tensor

from ray_ue.budget import Budget
from ray_ue.steps import Step, Workers
from ray_ue.surrogates import Surrogate
from ray_ue.types import Bank, Centers, PixelBlock, SlotOf

__all__ = ["Method", "Step", "View", "Workers"]

Aimed = Int[np.ndarray, " S"]


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A sample of the collection at the surrogate's canvas size; `pixels` may be a memory map: index rows, never copy it whole."""

    pixels: PixelBlock
    slot_of: SlotOf
    centers: Centers
    surrogate: Surrogate

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.slot_of) or not len(self.pixels):
            raise ValueError(
                f"{len(self.pixels)} images have {len(self.slot_of)} slots; a view needs one slot for each of at least one image"
            )
        if (top := int(self.slot_of.max())) >= len(self.centers):
            raise ValueError(f"slot {top} has no center: there are only {len(self.centers)}")
        if self.pixels.shape[1:3] != (self.surrogate.canvas,) * 2:
            raise ValueError(f"images of {self.pixels.shape[1:3]} do not fill {self.surrogate.name}'s canvas of {self.surrogate.canvas}")


class Method(ABC):
    """A frozen value that turns a view into a bank; every step can be resumed from."""

    @abstractmethod
    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        """Yield after each step; `aim[s]` is the centre that slot s is pushed toward, an empty `resume` starts anew."""

    @abstractmethod
    def bank(self, state: Mapping[str, Tensor], *, budget: Budget) -> Bank:
        """The bank that a step's state stands for."""
