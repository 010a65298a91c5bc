"""A table of deltas whose owned rows stay on a device: rounds read and write them there, and files are written when a mark is due."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from ray_ue.loop import Workers, fill
from ray_ue.perturbations.budget import MOST
from ray_ue.perturbations.delta_table import SIDES, DeltaTable, Rows, file_name


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidentDeltaTable(DeltaTable):
    """The same table, and the same files once a round is closed or marked; what no mark has saved is lost with the process.

    It holds the pools of one of `workers`, and reads and writes no other's rows.
    """

    device: torch.device
    workers: Workers
    _sides: dict[int, Int8[Tensor, "n 3 h w"]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, table: DeltaTable, *, device: torch.device, workers: Workers) -> "ResidentDeltaTable":
        """The owned part of `table` on a device."""
        shape = {"home": table.home, "rows": table.rows, "side": table.side, "pools": table.pools, "budget": table.budget}
        return cls(**shape, device=device, workers=workers)

    @cached_property
    def _owned_rows(self) -> Int[np.ndarray, " n"]:
        """Pool by pool, in each the rows ascending, as its file has them."""
        return np.concatenate([self.members(pool) for pool in self.owned(self.workers)])

    @cached_property
    def _index_of(self) -> Int[np.ndarray, " N"]:
        """The place of each row on the device; -1 for another worker's."""
        places = np.full(self.rows, -1, np.int64)
        places[self._owned_rows] = np.arange(len(self._owned_rows))
        return places

    def read(self, turn: int, rows: Rows) -> Float[Tensor, "B 3 h w"]:
        if turn == 0:
            return torch.zeros((len(rows), 3, self.side, self.side), device=self.device)
        places = self._indices(rows)
        return self._resident(turn, fresh=False)[places].float() * (self.budget.radius / MOST)

    def write(self, turn: int, rows: Rows, values: Float[Tensor, "B 3 h w"]) -> None:
        scaled = (self.budget.project(values.detach().to(self.device)) * (MOST / self.budget.radius)).round().to(torch.int8)
        self._resident(turn, fresh=True)[self._indices(rows)] = scaled
        self._dirty.update(np.unique(self.pool_of[rows]).tolist())

    def bytes_resident(self) -> int:
        """What both sides of the owned rows take on the device."""
        return SIDES * len(self._owned_rows) * 3 * self.side**2

    def _save(self, turn: int, pool: int) -> None:
        places = self._indices(self.members(pool))
        self._side(turn, pool, fresh=True)[:] = self._resident(turn, fresh=True)[places].cpu().numpy()
        super()._save(turn, pool)

    def _indices(self, rows: Rows) -> Int[Tensor, " B"]:
        places = self._index_of[rows]
        assert (places >= 0).all(), "a worker reads and writes its own rows"
        return torch.from_numpy(places).to(self.device)

    def _resident(self, turn: int, *, fresh: bool) -> Int8[Tensor, "n 3 h w"]:
        """The side of a round; the first time it is what the files hold, pool by pool. A `fresh` one is zeros where a pool has none."""
        if turn % SIDES not in self._sides:
            whole = torch.zeros((len(self._owned_rows), 3, self.side, self.side), dtype=torch.int8, device=self.device)
            begin = 0
            for pool in self.owned(self.workers):
                count = len(self.members(pool))
                if not fresh or self._path(turn, pool).exists() or self.home.exists(file_name(turn, pool)):
                    fill(whole[begin : begin + count], self._side(turn, pool, fresh=False))
                begin += count
            self._sides[turn % SIDES] = whole
        return self._sides[turn % SIDES]
