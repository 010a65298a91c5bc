"""Work that several processes share in tests: threads with one sum, processes that can be killed, a collection of many shards."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from conftest import image_bytes
from torch import Tensor

PARTS, EACH = 12, 30
# A tiny UC, whose every stage runs: what tests of stages craft with, and a longer one for nodes that are lost and strained.
UC: dict[str, Any] = {"method": "uc", "surrogate": "ssl:small", "image_size": 32, "ssl_steps": 2, "steps": 4, "batch": 16, "clusters": 3}
UC_ON_NODES: dict[str, Any] = UC | {"ssl_steps": 3, "steps": 6, "craft_sample": 100}


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


def write_parts(root: Path) -> Path:
    """A collection of many shards, so that the nodes have something to share."""
    root.mkdir(parents=True)
    for part in range(PARTS):
        cells = [{"bytes": image_bytes(EACH * part + i), "path": f"{i}.png"} for i in range(EACH)]
        pq.write_table(pa.table({"image": cells, "label": [i % 5 for i in range(EACH)]}), root / f"part-{part:02d}.parquet")
    return root


def command(verb: str, *words: str, **flags: object) -> list[str]:
    return [
        sys.executable,
        "-m",
        "ray_ue",
        verb,
        *words,
        *(f"--{name.replace('_', '-')}={value}" for name, value in flags.items()),
    ]


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
