"""The pixels of evaluation jobs: mapped where all rows are taken in order, else copied and kept while the next jobs may need them."""

from collections import OrderedDict

import numpy as np
from jaxtyping import UInt8

from ray_ue.exploiter.dataset import Block

Rows = UInt8[np.ndarray, "_ h w 3"]

KEPT = 2**30  # bytes of copies that a lane keeps: with more, one copy of each of four large pixel sets would fill a machine


class Blocks:
    """Copies of rows by name; those that were used last stay, up to so many bytes, and a larger one is never kept."""

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self._kept: OrderedDict[object, Rows] = OrderedDict()

    def take(self, name: object, views: Block, places: np.ndarray) -> Rows:
        """The rows `places` of `views`."""
        if len(places) == len(views) and (places == np.arange(len(views))).all():
            return views
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        rows = views[places]
        self._kept[name] = rows
        while self._kept and self.bytes > self.most:
            self._kept.popitem(last=False)
        return rows

    @property
    def bytes(self) -> int:
        """What the kept copies take."""
        return sum(rows.nbytes for rows in self._kept.values())
