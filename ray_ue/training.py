"""What a victim trains on, as one value that a defense can change. It knows pixels, labels and steps, no defense and no network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ray_ue.types import Rng

Block = UInt8[np.ndarray, "n h w 3"]
Labels = Int[np.ndarray, " n"]
Images = Float[Tensor, "B 3 h w"]  # in [0, 1], after crop and flip, before the network's normalisation
Targets = Float[Tensor, "B K"]  # rows that sum to 1: labels may be mixed
Losses = Float[Tensor, " B"]
Holdout = tuple[UInt8[np.ndarray, "v vh vw 3"], Int[np.ndarray, " v"]]  # axes of its own: it has its own number of rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """What a defense may use in one training step.

    `loss(images, targets)` is each image's cross-entropy under the network as it is, in evaluation mode, in fp32, differentiable in the
    images; `done` is the share of the training that lies behind, from 0 to 1; every random choice comes from `rng`.
    """

    loss: Callable[[Images, Targets], Losses]
    rng: Rng
    done: float


# What a training step does to its batch after crop and flip.
Alter = Callable[[Images, Targets, Moment], tuple[Images, Targets]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """The exploiter's training set and habits: a defense takes one and gives back a changed one.

    `pixels` are the published images and `labels` (0 to `classes` - 1) what the exploiter calls them. `clean` are the same rows before
    protection: only a defense that states that its exploiter owns clean images may look at them. Every one of `alters` changes each batch,
    in order. When `holdout` has rows, the victim of the epoch that does best on them is kept, else the last one.
    """

    pixels: Block
    clean: Block
    labels: Labels
    classes: int
    alters: tuple[Alter, ...] = ()
    holdout: Holdout = (np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.labels) == len(self.clean):
            raise ValueError(f"{len(self.pixels)} images have {len(self.labels)} labels and {len(self.clean)} clean originals")
