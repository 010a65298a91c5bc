"""One square delta fitted to an image of any size: scaled to the shorter side, centred, mirrored along the longer."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, Int8, Int16

KEPT = 256 * 2**20  # bytes of scaled entries kept ready per poison
LOCK = threading.Lock()

Entry = Int8[np.ndarray, "3 h w"]
Square = Int16[np.ndarray, "side side 3"]
Delta = Int16[np.ndarray, "height width 3"]


def reflected_positions(length: int, side: int) -> Int[np.ndarray, " length"]:
    """Positions inside a centred stretch of `side`, continued by reflection on both ends as often as `length` needs."""
    place = (np.arange(length) - round((length - side) / 2)) % (2 * side)
    return np.minimum(place, 2 * side - 1 - place)


class SquareCache:
    """The scaled entries that were used last, up to `KEPT` bytes of them."""

    def __init__(self) -> None:
        self.entries: OrderedDict[tuple[int, int], Square] = OrderedDict()
        self.bytes = 0

    def get_or_make(self, key: tuple[int, int], make: Callable[[], Square]) -> Square:
        """The entry that is kept under `key`, or what `make` gives, which is kept from now on."""
        square = make() if (kept := self.entries.get(key)) is None else kept
        with LOCK:  # export calls this from several threads
            self.bytes += 0 if key in self.entries else square.nbytes
            self.entries[key] = square
            self.entries.move_to_end(key)
            while self.bytes > KEPT:
                self.bytes -= self.entries.popitem(last=False)[1].nbytes
        return square


def resize_delta(entry: Entry, side: int) -> Square:
    """Bilinear, antialiased where it shrinks, rounded to whole levels; a convex mean of levels stays inside the budget."""
    if entry.shape[1] == side:
        return np.ascontiguousarray(entry.transpose(1, 2, 0), dtype=np.int16)
    wide = torch.from_numpy(entry.astype(np.float32))[None]
    scaled = F.interpolate(wide, (side, side), mode="bilinear", antialias=True)[0].round().numpy()
    square = np.ascontiguousarray(scaled.transpose(1, 2, 0), dtype=np.int16)
    square.flags.writeable = False
    return square


def extend_delta(square: Square, *, height: int, width: int) -> Delta:
    """The square in the centre, mirrored along the longer side."""
    if height == width:
        return square
    return square[reflected_positions(height, len(square))] if height > width else square[:, reflected_positions(width, len(square))]
