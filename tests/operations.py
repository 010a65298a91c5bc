"""Counts the operations that torch dispatches while a block runs, backward passes and optimisers included."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """How often each operation was dispatched, views among them."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))

    @property
    def syncs(self) -> int:
        """How often a number was read from its device, which waits for all that the device has been asked for."""
        return self.counts["aten._local_scalar_dense.default"]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def operations(step: Callable[[], Any]) -> Operations:
    """Those of one call. Call it once before: first calls fill caches."""
    with Operations() as mode:
        step()
    return mode
