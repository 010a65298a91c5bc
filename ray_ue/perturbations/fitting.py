"""One square delta fitted to an image of any size: scaled to the shorter side, centred, mirrored along the longer."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int, Int8

from ray_ue.perturbations.budget import Parts
from ray_ue.stripes import stripes

KEPT = 128 * 2**20  # bytes of scaled entries kept ready per poison
PIXELS = 2**18  # of the columns that are scaled at a time: fewer would be very narrow
LOCK = threading.Lock()

Entry = Int8[np.ndarray, "3 h w"]
Square = Int8[np.ndarray, "side side 3"]
Delta = Int8[np.ndarray, "height width 3"]


def reflected_positions(length: int, side: int) -> Int[np.ndarray, " length"]:
    """Positions inside a centred stretch of `side`, continued by reflection on both ends as often as `length` needs."""
    place = (np.arange(length) - round((length - side) / 2)) % (2 * side)
    return np.minimum(place, 2 * side - 1 - place)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaled:
    """An entry scaled to `side`: bilinear, antialiased where it shrinks, rounded to whole levels; a convex mean of levels stays in the
    budget. `wide` has its columns already, and all of its rows unless they are still to be scaled."""

    wide: Float32[torch.Tensor, "1 3 h side"] | Square
    side: int

    @classmethod
    def of(cls, entry: Entry, side: int) -> "Scaled":
        if entry.shape[1] == side:
            return cls(wide=np.ascontiguousarray(entry.transpose(1, 2, 0)), side=side)
        raw = torch.from_numpy(entry.astype(np.float32))[None]
        return cls(wide=F.interpolate(raw, (entry.shape[1], side), mode="bilinear", antialias=True), side=side)

    def columns(self, first: int, last: int) -> Int8[np.ndarray, "side _ 3"]:
        """Some columns: the rows of each are scaled without the others."""
        if isinstance(self.wide, np.ndarray):
            return self.wide[:, first:last]
        part = F.interpolate(self.wide[..., first:last], (self.side, last - first), mode="bilinear", antialias=True)
        return part[0].round().to(torch.int8).permute(1, 2, 0).numpy()

    def whole(self) -> "Scaled":
        """The same with all of it at hand."""
        square = np.ascontiguousarray(self.columns(0, self.side))
        square.flags.writeable = False
        return Scaled(wide=square, side=self.side)


class SquareCache:
    """The scaled entries that were used last, up to `KEPT` bytes of them."""

    def __init__(self) -> None:
        self.entries: OrderedDict[tuple[int, int], Scaled] = OrderedDict()
        self.bytes = 0

    def holds(self, side: int) -> bool:
        """Whether an entry of this side is kept: it leaves room for seven others at least."""
        return 3 * side**2 <= KEPT // 8

    def get_or_make(self, key: tuple[int, int], make: Callable[[], Scaled]) -> Scaled:
        """The entry that is kept under `key`, or what `make` gives, which is kept from now on."""
        square = make() if (kept := self.entries.get(key)) is None else kept
        with LOCK:  # export calls this from several threads
            self.bytes += 0 if key in self.entries else 3 * key[1] ** 2
            self.entries[key] = square
            self.entries.move_to_end(key)
            while self.bytes > KEPT:
                self.bytes -= 3 * self.entries.popitem(last=False)[0][1] ** 2
        return square


def fitted(square: Scaled, *, height: int, width: int) -> Parts:
    """The square in the centre of a picture, mirrored along the longer side: some columns at a time."""
    side = min(height, width)
    down, right = reflected_positions(height, side), reflected_positions(width, side)
    for columns in stripes(width, height, pixels=PIXELS):
        first, last = int(right[columns].min()), int(right[columns].max()) + 1
        part = square.columns(first, last)
        part = part if width == side else part[:, right[columns] - first]
        yield (slice(None), columns), part if height == side else part[down]


def assembled(parts: Parts, *, height: int, width: int) -> Delta:
    """A delta as one array, from its parts."""
    whole = np.empty((height, width, 3), np.int8)
    for place, delta in parts:
        whole[place] = delta
    return whole
