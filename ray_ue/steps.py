"""What long loops share: their place among equal workers and the steps that they yield. Knows tensors, not what is trained."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
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


def average(values: Iterable[Tensor], workers: Workers) -> None:
    """Make tensors equal on all workers, in place, by their mean: one flat message, whatever their number."""
    every = [value for value in values if value.is_floating_point()]
    if workers.world == 1 or not every:
        return
    flat = workers.total(torch.cat([value.detach().float().flatten() for value in every])) / workers.world
    for value, mean in zip(every, flat.split([value.numel() for value in every]), strict=True):
        value.copy_(mean.view_as(value))


@contextmanager
def seeded(*seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generators: seed them, and put them back. Never yield from a loop inside."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
