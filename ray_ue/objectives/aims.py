"""Aims: the centre that each slot is pushed toward, the protector's choice."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from ray_ue.types import Centers, Rng

Aim = Callable[[Centers, Rng], Int[np.ndarray, " S"]]


def shift(centers: Centers, rng: Rng) -> Int[np.ndarray, " S"]:
    """Slot s aims at slot s + 1 (mod S): the permutation of the UC authors' code."""
    return np.roll(np.arange(len(centers)), -1)


def random(centers: Centers, rng: Rng) -> Int[np.ndarray, " S"]:
    """A random derangement: one random cycle through all slots, so that no slot aims at itself."""
    cycle = rng.permutation(len(centers))
    aim = np.empty(len(centers), int)
    aim[cycle] = np.roll(cycle, -1)
    return aim


def farthest(centers: Centers, rng: Rng) -> Int[np.ndarray, " S"]:
    """Each slot aims at the centre farthest from its own (Euclidean); several slots may share one."""
    wide = centers.astype(np.float64)
    squares = (wide**2).sum(1)
    return (squares[:, None] + squares[None, :] - 2 * wide @ wide.T).argmax(1)


AIMS: dict[str, Aim] = {"shift": shift, "random": random, "farthest": farthest}
