"""Which rows share a batch: a function of seed and epoch alone, so that results do not depend on the number of workers."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue.loop import Workers
from ray_ue.methods._shared.batch_rng import BatchRng, Images, Rows
from ray_ue.methods.base import View
from ray_ue.random_streams import STREAMS
from ray_ue.types import Rng

PARTNERS = 8  # rows of a group that share a batch at least, where there are as many


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampler:
    """Draws the batches of a view. A worker holds the rows of its own pools."""

    view: View
    workers: Workers
    seed: int

    def training(self, epoch: int, *, batch: int) -> list[Rows]:
        """All rows once, in batches over the whole collection."""
        return np.array_split(_shuffled(self.seed, epoch, len(self.view.pixels)), self.per_epoch(batch=batch))

    def endless(self, step: int, *, batch: int) -> Rows:
        """The batch of `step` in a run over the collection that starts anew, reshuffled, when it is through."""
        epoch, turn = divmod(step, self.per_epoch(batch=batch))
        return self.training(epoch, batch=batch)[turn]

    def per_epoch(self, *, batch: int) -> int:
        """How many batches `training` gives."""
        return -(-len(self.view.pixels) // batch)

    def own(self, rows: Rows) -> Int[np.ndarray, " _"]:
        """The rows of a batch that this worker holds."""
        return rows[self.view.deltas.pool_of[rows] % self.workers.world == self.workers.rank]

    def pooled(self, epoch: int, *, batch: int) -> dict[int, list[Rows]]:
        """For each of this worker's pools all its rows once, in batches of `batch` or somewhat more; a smaller pool is one batch."""
        owned = self.view.deltas.owned(self.workers)
        return {pool: self._pool_batches(self.view.deltas.members(pool), epoch, batch=batch, pool=pool) for pool in owned}

    def gathered(self, epoch: int, *, batch: int) -> dict[int, list[Rows]]:
        """The same with all rows as one pool, for a method that runs on one worker and needs every row to meet every other in time."""
        return {0: self._pool_batches(np.arange(len(self.view.pixels)), epoch, batch=batch, pool=0)}

    def _pool_batches(self, members: Int[np.ndarray, " _"], epoch: int, *, batch: int, pool: int) -> list[Rows]:
        rng = np.random.default_rng([self.seed, STREAMS["batches/pool"], epoch, pool])
        rows = self._bunch_groups(rng.permutation(members), batch=batch, rng=rng)
        return np.array_split(rows, batches_per_pool(len(rows), batch=batch))

    def _bunch_groups(self, rows: Rows, *, batch: int, rng: Rng) -> Rows:
        """Shuffled rows; where groups are so many that a batch would hold few rows of each, they come in bunches of one group."""
        finest = max((self.view.group_of, *self.view.also), key=lambda groups: int(groups.max()))[rows]
        if batch >= PARTNERS * (int(finest.max(initial=0)) + 1):
            return rows
        order = np.argsort(finest, kind="stable")
        edges = np.flatnonzero(np.diff(finest[order])) + 1
        bunches = [part[i : i + PARTNERS] for part in np.split(order, edges) for i in range(0, len(part), PARTNERS)]
        return rows[np.concatenate([bunches[i] for i in rng.permutation(len(bunches))])]

    def pool_rng(self, *key: int, rows: Rows) -> BatchRng:
        """Random numbers for a batch that lies in this worker's pools."""
        return BatchRng(self.seed, *key, rows=rows, wanted=np.ones(len(rows), bool), device=self.view.surrogate.device)

    def share_rng(self, *key: int, rows: Rows) -> BatchRng:
        """Random numbers for this worker's rows of a batch over the whole collection."""
        return BatchRng(self.seed, *key, rows=rows, wanted=np.isin(rows, self.own(rows)), device=self.view.surrogate.device)

    def images(self, rows: Rows) -> Images:
        """Rows as [0, 1] images on the device."""
        return self.view.images(rows)

    def targets(self, rows: Rows) -> list[Int[Tensor, " B"]]:
        """The groups of these rows, one tensor per grouping: the targets of the source network."""
        groupings = (self.view.group_of, *self.view.also)
        return [torch.from_numpy(groups[rows].astype(np.int64)).to(self.view.surrogate.device) for groups in groupings]


@lru_cache(maxsize=2)  # a run that asks for one batch after the other would shuffle all rows for each
def _shuffled(seed: int, epoch: int, rows: int) -> Rows:
    order = np.random.default_rng([seed, STREAMS["batches/training"], epoch]).permutation(rows)
    order.flags.writeable = False
    return order


def batches_per_pool(rows: int, *, batch: int) -> int:
    """Into how many batches the rows of a pool are dealt, so that none of them is smaller than `batch`, if there are as many."""
    return max(1, rows // batch)


def largest_batch(rows: int, *, pools: int, batch: int) -> int:
    """The rows of the largest batch of all pools."""
    return max(-(-pool // batches_per_pool(pool, batch=batch)) for pool in {rows // pools, -(-rows // pools)})


def flipped(images: Images, draws: BatchRng, *, share: float) -> Images:
    """Images of which a `share` is mirrored."""
    return torch.where(draws.flips(share)[:, None, None, None], images.flip(-1), images)


class RunningMean:
    """A running mean over batches of this worker, kept on the device."""

    def __init__(self) -> None:
        self.sum: Tensor | float = 0.0
        self.count = 0

    def add(self, value: Tensor, rows: int) -> Tensor:
        """Count `value`, a mean over `rows`, and give it back, slopes and all."""
        self.sum = self.sum + value.detach() * rows
        self.count += rows
        return value

    def over(self, workers: Workers, *, device: torch.device) -> Float[Tensor, ""]:
        """The mean over the batches of some workers; no loss before the first."""
        both = torch.stack([torch.as_tensor(self.sum, device=device, dtype=torch.float32), torch.tensor(float(self.count), device=device)])
        total, count = workers.all_reduce(both)
        return total / count.clamp(min=1)
