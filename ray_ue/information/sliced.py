"""Sliced mutual information: the mean over random pairs of directions of the information between two projections."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32

from ray_ue.information.base import Features, Information, Partners, check_pairs
from ray_ue.information.scalar import Numbers, histogram, kde, knn
from ray_ue.types import Rng

WIDE = 50  # slices that are projected at once


def directions(rng: Rng, *, slices: int, width: int) -> Float32[np.ndarray, "m D"]:
    """Unit vectors, uniform on the sphere: normalised Gaussians."""
    drawn = rng.standard_normal((slices, width), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def over_slices(
    first: Features, second: Partners, *, slices: int, rng: Rng, scalar: Callable[[Numbers, Numbers], tuple[float, float]], settings: dict
) -> Information:
    """The mean of `scalar` (value, corrected value) over `slices` pairs of directions, the two of a pair independent of each other."""
    check_pairs(first, second)
    if slices < 2:
        raise ValueError(f"{slices} slices have no spread; ask for 2 or more")
    theta = directions(rng, slices=slices, width=first.shape[1])
    phi = directions(rng, slices=slices, width=second.shape[1])
    values = []
    for begin in range(0, slices, WIDE):
        u, v = (np.ascontiguousarray((x @ way[begin : begin + WIDE].T).T) for x, way in ((first, theta), (second, phi)))
        values += [scalar(a, b) for a, b in zip(u, v, strict=True)]
    value, corrected = np.array(values).T
    return Information(
        value=float(value.mean()),
        stderr=float(value.std(ddof=1) / math.sqrt(slices)),
        corrected=float(corrected.mean()),
        n=len(first),
        slices=slices,
        settings=settings,
    )


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """`bins` cells of equal width each way. MI-UE names the histogram and not its settings: 500 slices and 30 bins are ours."""

    slices: int = 500
    bins: int = 30

    def __call__(self, first: Features, second: Partners, *, rng: Rng, device: torch.device) -> Information:
        scalar = partial(histogram, bins=self.bins)
        return over_slices(first, second, slices=self.slices, rng=rng, scalar=scalar, settings=asdict(self))


@dataclass(frozen=True, kw_only=True)
class Kde:
    """Gaussian kernels at Scott's bandwidth on a sample of at most `rows` pairs, for the cost grows with their square. All settings are
    ours: MI-UE gives none."""

    slices: int = 50
    rows: int = 5000

    def __call__(self, first: Features, second: Partners, *, rng: Rng, device: torch.device) -> Information:
        check_pairs(first, second)
        chosen = np.sort(rng.permutation(len(first))[: self.rows])

        def scalar(u: Numbers, v: Numbers) -> tuple[float, float]:
            return kde(u, v, device=device), math.nan

        return over_slices(first[chosen], second[chosen], slices=self.slices, rng=rng, scalar=scalar, settings=asdict(self))


@dataclass(frozen=True, kw_only=True)
class Knn:
    """The distance to the `neighbours`-th neighbour (KSG-1). All settings are ours: MI-UE gives none."""

    slices: int = 100
    neighbours: int = 3

    def __call__(self, first: Features, second: Partners, *, rng: Rng, device: torch.device) -> Information:
        check_pairs(first, second)
        jitter = np.random.default_rng(rng.integers(2**63))  # of its own: the slices are then those of any other estimator

        def scalar(u: Numbers, v: Numbers) -> tuple[float, float]:
            return knn(u, v, neighbours=self.neighbours, rng=jitter), math.nan

        return over_slices(first, second, slices=self.slices, rng=rng, scalar=scalar, settings=asdict(self))
