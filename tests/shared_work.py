"""Workers in tests: as threads that share one sum, and as processes that can be killed."""

import subprocess
import threading
from collections.abc import Callable

from torch import Tensor


def sums(world: int) -> list[Callable[[Tensor], Tensor]]:
    """One `Workers.total` per rank; added in the order of the ranks, as a collective is deterministic."""
    barrier, shares = threading.Barrier(world, timeout=120), {}

    def of(rank: int) -> Callable[[Tensor], Tensor]:
        def total(value: Tensor) -> Tensor:
            shares[rank] = value.clone()
            barrier.wait()
            whole = sum((shares[other] for other in range(1, world)), shares[0])
            barrier.wait()
            return whole.clone()  # type: ignore[union-attr]

        return total

    return [of(rank) for rank in range(world)]


def train_workers() -> list[int]:
    """Process ids of this session's Ray Train workers, the youngest last."""
    import ray

    raylet = ray._private.worker._global_node.all_processes["raylet"][0].process.pid  # type: ignore[union-attr]
    told = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    found = [line.split(None, 2) for line in told.splitlines()[1:]]
    return [int(pid) for pid, parent, words in found if int(parent) == raylet and "RayTrainWorker" in words]
