"""Array aliases and the axis legend; imports nothing of ours.

Axes: N rows of the collection, n rows of a sample, B rows of a batch, S slots, D feature width, C H W channels, height, width.
Pixels are uint8 RGB in `H W 3` order outside torch and float in [0, 1] in `B 3 H W` order inside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8, Int32, UInt8
from torch import Tensor

Rng = np.random.Generator
Pixels = UInt8[np.ndarray, "H W 3"]
PixelBlock = UInt8[np.ndarray, "n H W 3"]
SlotOf = Int32[np.ndarray, " n"]
Vectors = Float32[np.ndarray, "n D"]
Centers = Float32[np.ndarray, "S D"]
Images = Float[Tensor, "B 3 H W"]
Features = Float[Tensor, "B D"]
Bank = Int8[np.ndarray, "S 3 h w"]
Device = torch.device

T = TypeVar("T")


def alone(value: Tensor) -> Tensor:
    """What one worker's sum over all workers is: its own value."""
    return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Workers:
    """This process's place among equals; `total` sums a tensor over all of them and returns the sum on each."""

    rank: int = 0
    world: int = 1
    total: Callable[[Tensor], Tensor] = alone


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What a long loop yields: `step` of `steps` are done, over `images` image passes.

    `state()` copies all that resuming needs into a flat dict; call it before asking for the next step.
    """

    step: int
    steps: int
    loss: float
    images: int
    state: Callable[[], dict[str, Tensor]]


def pick(table: Mapping[str, T], name: str, *, what: str) -> T:
    """The entry called `name`; a `ValueError` lists what there is."""
    if name not in table:
        raise ValueError(f"no {what} is called {name!r}; there are {', '.join(sorted(table))}")
    return table[name]
