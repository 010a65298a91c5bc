"""What long loops share: their place among equal workers and the steps that they yield. Knows tensors, not what is trained."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


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
