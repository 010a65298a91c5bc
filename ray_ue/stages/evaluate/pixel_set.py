"""A pixel set: some rows of some views, named by their content, and opened once per process."""

from dataclasses import dataclass

import numpy as np

from ray_ue.stages.evaluate.blocks import Blocks, Rows
from ray_ue.stages.evaluate.rows import open_match
from ray_ue.stages.protect.views import open_views
from ray_ue.storage.artifacts import Folder


@dataclass(frozen=True, kw_only=True)
class PixelSet:
    """Views, and which of their rows: those listed under `column` in a match's `rows.npz`."""

    views: Folder
    match: Folder
    column: str
    sha256: str  # of the views and of the choice

    def places(self) -> np.ndarray:
        """The rows among the views."""
        return open_match(self.match)[self.column]


BLOCKS = Blocks()  # of this process: the cells of a lane mostly share their pixels


def block(pixels: PixelSet) -> Rows:
    """The pixels of a job, in the order of the match; memory-mapped as long as all rows are taken in order."""
    return BLOCKS.take(pixels, open_views(pixels.views)[0], pixels.places())
