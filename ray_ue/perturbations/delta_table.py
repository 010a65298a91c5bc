"""Deltas: one perturbation per row in int8 files that workers own and map, two sides of each so that a kill never mixes two rounds.

At the size of ImageNet this table is the largest file set of a run (180 GiB
at 224 pixels), so no process ever holds it and no row of it travels between workers.
"""

import fcntl
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from ray_ue.loop import Workers
from ray_ue.perturbations.budget import MOST, Budget
from ray_ue.random_streams import STREAMS
from ray_ue.storage.artifacts import Folder
from ray_ue.storage.mapped import new_mapped

SIDES = 2  # the round that is read and the round that is written
MARKS, MARKED = "marks", 5.0  # where marks of how far a round is lie, and the seconds between two of them
MET = 512  # rows that at least share a batch on one worker: MI-UE's
BLOCK = 64 * 2**20  # bytes of float32 that are turned into whole levels at a time

Rows = Int[np.ndarray, " B"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DeltaTable:
    """The table of `rows` deltas of `side` pixels. Rows are dealt to pools at random; a pool belongs to one worker.

    A delta is kept to a 127th of the budget; a round that moves it by less than half of that changes nothing. What round r wrote,
    round r + 1 reads; round 0 is all zeros. Pools depend on the number of rows alone, never on the number of workers.
    """

    home: Folder
    rows: int
    side: int
    pools: int
    budget: Budget
    _open: dict[Path, np.memmap] = field(default_factory=dict, init=False, repr=False)
    _scratch: list["Scratch"] = field(default_factory=list, init=False, repr=False)
    _dirty: set[int] = field(default_factory=set, init=False, repr=False)
    _next_mark: list[float] = field(default_factory=lambda: [time.monotonic() + MARKED], init=False, repr=False)

    def owned(self, workers: Workers) -> range:
        """The pools of one worker."""
        if workers.world > self.pools:
            raise ValueError(f"{self.rows:,} images make {self.pools} pool(s), one worker each at least; ask for --workers {self.pools}")
        return range(workers.rank, self.pools, workers.world)

    def members(self, pool: int) -> Rows:
        """The rows of a pool, ascending: a random part of all, so that a pool gets some of each class, however the source deals them."""
        return np.flatnonzero(self.pool_of == pool)

    @cached_property
    def pool_of(self) -> Int[np.ndarray, " N"]:
        """The pool of each row. The same in every run: nothing else depends on it, and a table outlives its process."""
        pools = np.empty(self.rows, np.int32)
        pools[np.random.default_rng(STREAMS["deltas/pools"]).permutation(self.rows)] = np.arange(self.rows) % self.pools
        return pools

    @cached_property
    def _place_of(self) -> Int[np.ndarray, " N"]:
        """The place of each row within its pool."""
        order = np.argsort(self.pool_of, kind="stable")
        first = np.searchsorted(self.pool_of[order], np.arange(self.pools))
        places = np.empty(self.rows, np.int64)
        places[order] = np.arange(self.rows) - first[self.pool_of[order]]
        return places

    def read(self, turn: int, rows: Rows) -> Float[Tensor, "B 3 h w"]:
        """The deltas of some rows as round `turn` left them, in [0, 1] pixel units."""
        if turn == 0:
            return torch.zeros((len(rows), 3, self.side, self.side))
        stored = np.empty((len(rows), 3, self.side, self.side), np.int8)
        for pool, members in self._by_pool(rows):
            stored[members] = self._side(turn, pool, fresh=False)[self._place_of[rows[members]]]
        return torch.from_numpy(stored).float() * (self.budget.radius / MOST)

    def write(self, turn: int, rows: Rows, values: Float[Tensor, "B 3 h w"]) -> None:
        """Keep what round `turn` found for some rows."""
        scaled = (self.budget.project(values.detach()) * (MOST / self.budget.radius)).round().to(torch.int8).cpu().numpy()
        for pool, members in self._by_pool(rows):
            self._side(turn, pool, fresh=True)[self._place_of[rows[members]]] = scaled[members]
            self._dirty.add(pool)

    def _by_pool(self, rows: Rows) -> Iterator[tuple[int, Bool[np.ndarray, " B"]]]:
        """(pool, which of the rows it holds) of every pool that holds some."""
        pools = self.pool_of[rows]
        return ((pool, pools == pool) for pool in np.unique(pools).tolist())

    def close(self, turn: int, workers: Workers) -> None:
        """Round `turn` is complete on this worker: put it where a new start will find it."""
        for pool in self.owned(workers):
            self._save(turn, pool)
        self._dirty.clear()

    def mark(self, turn: int, key: int, count: int) -> None:
        """Round `turn` has written the first `count` batches of what this worker calls `key`: a killed round goes on after them.

        At most a tenth of the time goes into it: what was written since the last mark must be safe first.
        """
        began = time.monotonic()
        if began < self._next_mark[0]:
            return
        for pool in self._dirty:
            self._save(turn, pool)
        self._dirty.clear()
        self.home.write(f"{MARKS}/{key}", f"{turn} {count}".encode())
        ended = time.monotonic()
        self._next_mark[0] = ended + max(MARKED, 9 * (ended - began))

    def marked(self, turn: int, key: int) -> int:
        """The batches of `key` that an earlier run of round `turn` has finished."""
        written, count = self._left_marks.get(key, (turn, 0))
        return count if written == turn else 0

    @cached_property
    def _left_marks(self) -> dict[int, tuple[int, int]]:
        """{key: (round, batches)} as the processes before this one left them."""
        words = {int(name): self.home.read(f"{MARKS}/{name}").split() for name in self.home.names(MARKS)}
        return {key: (int(turn), int(count)) for key, (turn, count) in words.items()}

    def _save(self, turn: int, pool: int) -> None:
        self._side(turn, pool, fresh=False).flush()
        if not self.home.local:
            with self.home.writing(file_name(turn, pool)) as file:
                file.write(self._path(turn, pool).read_bytes())

    def levels(self, turn: int) -> Iterator[Int8[np.ndarray, "_ 3 h w"]]:
        """All deltas after round `turn` in whole levels, in the order of the rows, a block at a time."""
        size = max(1, BLOCK // (12 * self.side**2))
        for begin in range(0, self.rows, size):
            rows = np.arange(begin, min(begin + size, self.rows))
            yield self.budget.quantise(self.read(turn, rows).cpu().numpy())

    def bytes(self) -> int:
        """What both sides take on disk, over all workers."""
        return SIDES * self.rows * 3 * self.side**2

    def _path(self, turn: int, pool: int) -> Path:
        name = file_name(turn, pool)
        if self.home.local:
            return Path(self.home.path(name))
        if not self._scratch:
            self._scratch.append(Scratch(f"ray-ue-deltas-{sha256(self.home.uri.encode()).hexdigest()[:16]}"))
        return self._scratch[0].path / name

    def _side(self, turn: int, pool: int, *, fresh: bool) -> np.memmap:
        """The file of a pool; one that is not there is only made when it is about to be written."""
        path = self._path(turn, pool)
        if path in self._open:
            return self._open[path]
        shape = (len(self.members(pool)), 3, self.side, self.side)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self.home.local and self.home.exists(file_name(turn, pool)):
                path.write_bytes(self.home.read(file_name(turn, pool)))
            elif not fresh:
                raise FileNotFoundError(f"{path} is gone, and with it the perturbations of {len(self.members(pool)):,} images; start over")
            else:
                new_mapped(path, dtype=np.int8, shape=shape).flush()
        self._open[path] = mapped = np.load(path, mmap_mode="r+", allow_pickle=False)
        assert mapped.shape == shape, f"{path} holds {mapped.shape}, not {shape}"
        return mapped


class Scratch:
    """A private folder of this process for one name: what an earlier worker left here may be of an older round than the store's.

    It goes with its process. Those of workers that were killed go when the next one of the same name comes: nobody holds their lock.
    """

    def __init__(self, name: str) -> None:
        root = Path(tempfile.gettempdir())
        for left in root.glob(f"{name}-*"):
            with suppress(OSError), (left / "lock").open("r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
        draft = Path(tempfile.mkdtemp(prefix=f"new-{name}-"))  # under this name nobody looks for it before it is locked
        self.lock = (draft / "lock").open("w+b")
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = draft.rename(draft.with_name(draft.name.removeprefix("new-")))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def file_name(turn: int, pool: int) -> str:
    """The file of a pool's side that a round writes."""
    return f"side-{turn % SIDES}/pool-{pool:05d}.npy"


def pools_for(rows: int, *, batch: int = MET) -> int:
    """Pools of at least four batches each, so that a row meets many others, and enough of them for many workers."""
    return max(1, rows // (4 * batch))
