"""What long loops share: their place among equal workers and the steps that they yield."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

COPIED = 64 * 2**20  # bytes that are on their way to a device at a time


def no_reduction(value: Tensor) -> Tensor:
    """What one worker's sum over all workers is: its own value."""
    return value


def no_barrier() -> None:
    """What one worker waits for: nobody."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Workers:
    """This process's place among equals; `all_reduce` sums a tensor over all of them and returns the sum on each.

    A sum may come back before it is made, as NCCL's do: it holds up the device, not the process. `barrier` holds up the process.
    """

    rank: int = 0
    world: int = 1
    all_reduce: Callable[[Tensor], Tensor] = no_reduction
    barrier: Callable[[], None] = no_barrier

    def wait(self) -> None:
        """Return once every worker has called this and has finished what it did before, also what it asked of its device."""
        self.barrier()


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What a long loop yields: `step` of `steps` are done, over `images` image passes.

    `state()` copies all that resuming needs into a flat dict, and `loss_of()` reads the loss, which waits for the device: call them, if at
    all, before asking for the next step. A step that `must` be saved is followed by work that overwrites what its state needs.
    """

    step: int
    steps: int
    loss_of: Callable[[], float]
    images: int
    state: Callable[[], dict[str, Tensor]]
    saved: Literal["may", "must"] = "may"

    @property
    def loss(self) -> float:
        """The mean loss of the images since the step before. A `FloatingPointError` if it is no number."""
        return self.loss_of()


def no_loss() -> float:
    """The loss of a step that trains nothing."""
    return 0.0


def read_loss(loss: Tensor, *, what: str, advice: str) -> Callable[[], float]:
    """A step's `loss_of`: the loss stays on its device until it is shown or saved."""

    def read() -> float:
        if not math.isfinite(value := float(loss)):
            raise FloatingPointError(f"{what} is {value}; {advice}")
        return value

    return read


def joint_state(*parts: Callable[[], Mapping[str, Tensor]], **counts: int) -> Callable[[], dict[str, Tensor]]:
    """A step's `state`: those of its parts and some counts, copied when it is called."""

    def state() -> dict[str, Tensor]:
        tensors = {name: value for part in parts for name, value in part().items()}
        return tensors | {name: torch.tensor(value) for name, value in counts.items()}

    return state


def sum_in_place(values: Iterable[Tensor], workers: Workers) -> None:
    """Replace tensors on all workers, in place, by their sum: one flat message for all of them."""
    floats = [value for value in values if value.is_floating_point()]
    if workers.world == 1 or not floats:
        return
    flat = workers.all_reduce(torch.cat([value.detach().float().flatten() for value in floats]))
    for value, total in zip(floats, flat.split([value.numel() for value in floats]), strict=True):
        value.copy_(total.view_as(value))


def average_in_place(values: Iterable[Tensor], workers: Workers) -> None:
    """Make tensors equal on all workers, in place, by their mean."""
    floats = [value for value in values if value.is_floating_point()]
    sum_in_place(floats, workers)
    for value in floats if workers.world > 1 else []:
        value.div_(workers.world)


def to_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors on the CPU, without their gradients."""
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def fill(place: Tensor, rows: np.ndarray) -> None:
    """Copy rows to a tensor of their shape on a device, so many at a time that the machine's memory holds a few MiB of them."""
    count = max(1, COPIED * len(rows) // max(1, rows.nbytes))
    for begin in range(0, len(rows), count):
        place[begin : begin + count] = torch.from_numpy(np.array(rows[begin : begin + count])).to(place.device)


def optimiser_state(net: nn.Module, optimiser: torch.optim.SGD) -> dict[str, Tensor]:
    """The network's tensors as `net.NAME` and the optimiser's momentum as `momentum.I`, copied to the CPU."""
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    for i, entry in optimiser.state_dict()["state"].items():
        if entry["momentum_buffer"] is not None:
            tensors[f"momentum.{i}"] = entry["momentum_buffer"]
    return to_cpu(tensors)


def restore_optimiser(net: nn.Module, optimiser: torch.optim.SGD, state: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_state` gave."""
    net.load_state_dict(with_prefix("net.", state))
    buffers = {int(i): {"momentum_buffer": value} for i, value in with_prefix("momentum.", state).items()}
    optimiser.load_state_dict({"state": buffers, "param_groups": optimiser.state_dict()["param_groups"]})


def adam_state(optimiser: torch.optim.Adam) -> dict[str, Tensor]:
    """The moments and step counts as `adam.I.NAME`, not copied."""
    return {f"adam.{i}.{name}": value for i, entry in optimiser.state_dict()["state"].items() for name, value in entry.items()}


def restore_adam(optimiser: torch.optim.Adam, state: Mapping[str, Tensor]) -> None:
    """Put back what `adam_state` gave."""
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in with_prefix("adam.", state).items():
        i, _, name = key.partition(".")
        entries.setdefault(int(i), {})[name] = value
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})


def with_prefix(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries whose names begin with `prefix`, copied, without it."""
    return {name.removeprefix(prefix): value.clone() for name, value in state.items() if name.startswith(prefix)}


def generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator that is a function of whole numbers alone."""
    return torch.Generator(device).manual_seed(_hash_key(key))


@contextmanager
def seeded(*key: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generators: seed them, and put them back. Never yield from a loop inside."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_hash_key(key))
        yield


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """A fresh network draws its weights from torch's CPU generator: seed it, and put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _hash_key(key: Sequence[int]) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0])
