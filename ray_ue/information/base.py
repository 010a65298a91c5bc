"""The interface of an estimator of mutual information, and the check of its pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32

from ray_ue.types import Rng

LEAST = 20  # pairs: below it no estimator says anything
Features = Float32[np.ndarray, "n D"]
Partners = Float32[np.ndarray, "n E"]


@dataclass(frozen=True, kw_only=True)
class Information:
    """`stderr` is the standard error of the mean over slices, and nan where nothing is sliced; `corrected` is `value` less its known
    bias, and nan where none is known."""

    value: float  # nats
    stderr: float
    corrected: float
    n: int  # pairs that entered
    slices: int  # 0: the whole vectors
    settings: Mapping[str, object]


@runtime_checkable
class Estimator(Protocol):
    """A frozen value with its settings as fields; one seed of `rng` gives one answer."""

    def __call__(self, first: Features, second: Partners, *, rng: Rng, device: torch.device) -> Information: ...


def check_pairs(first: Features, second: Partners) -> None:
    """Row i of `first` and of `second` belong together; a `ValueError` where nothing can be estimated."""
    if len(first) != len(second):
        raise ValueError(f"{len(first):,} rows of features are paired with {len(second):,}; give the same images in one order to both")
    if len(first) < LEAST:
        raise ValueError(f"mutual information cannot be estimated from {len(first)} pairs; give {LEAST} or more")
    for place, features in (("first", first), ("second", second)):
        if bad := int((~np.isfinite(features).all(1)).sum()):
            raise ValueError(
                f"{bad:,} of {len(features):,} rows of the {place} features are not finite; the network that gave them diverged"
            )
