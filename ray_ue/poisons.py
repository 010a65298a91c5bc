"""Poisons: a bank fitted to an image of any size and added to it, bytes to bytes. Knows no networks and no sources."""

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, Int16
from safetensors.numpy import load, save

from ray_ue.budget import Budget
from ray_ue.types import Bank, Pixels

KEPT = 256 * 2**20  # bytes of scaled entries kept ready per process
KIND = "additive"
LOCK = threading.Lock()


def mirrored(length: int, side: int) -> Int[np.ndarray, " length"]:
    """Positions inside a centred stretch of `side`, continued by reflection on both ends as often as `length` needs."""
    place = (np.arange(length) - round((length - side) / 2)) % (2 * side)
    return np.minimum(place, 2 * side - 1 - place)


@dataclass(frozen=True, kw_only=True, eq=False)
class Additive:
    """One delta per slot, in whole levels, added with clipping."""

    bank: Bank
    budget: Budget
    _ready: OrderedDict[tuple[int, int], Int16[np.ndarray, "m m 3"]] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.bank.dtype != np.int8 or self.bank.ndim != 4 or self.bank.shape[1] != 3 or self.bank.shape[2] != self.bank.shape[3]:
            raise ValueError(f"a bank is int8 with shape [slots, 3, side, side], got {self.bank.dtype} {self.bank.shape}")
        if (most := int(np.abs(self.bank.astype(np.int16)).max(initial=0))) > self.budget.levels:
            raise ValueError(f"the bank reaches {most} levels, but its budget is {self.budget.levels}")

    def delta(self, slot: int, *, height: int, width: int) -> Int16[np.ndarray, "height width 3"]:
        """The slot's square, scaled to the image's shorter side, centred, and mirrored along the longer one.

        A victim that scales the shorter side and crops the centre sees the crafted square, whatever the aspect ratio.
        """
        if not 0 <= slot < len(self.bank):
            raise ValueError(f"there is no slot {slot}: the bank has {len(self.bank)}")
        side = min(height, width)
        square = self._square(slot, side)
        if height == width:
            return square
        return square[mirrored(height, side)] if height > width else square[:, mirrored(width, side)]

    def apply(self, pixels: Pixels, slot: int) -> Pixels:
        """The protected copy of one image."""
        return self.budget.apply(pixels, self.delta(slot, height=pixels.shape[0], width=pixels.shape[1]))

    def _square(self, slot: int, side: int) -> Int16[np.ndarray, "side side 3"]:
        key = (slot, side)
        square = self._ready.get(key)
        if square is None:
            square = _scaled(self.bank[slot], side)
            square.flags.writeable = False
        with LOCK:  # export calls this from several threads
            self._ready[key] = square
            self._ready.move_to_end(key)
            while len(self._ready) > 1 and sum(entry.nbytes for entry in self._ready.values()) > KEPT:
                self._ready.popitem(last=False)
        return square

    def dumps(self) -> bytes:
        """A safetensors file's content, which `loads` reads back equal; one metadata entry, for the order of several is not fixed."""
        return save({"bank": np.ascontiguousarray(self.bank)}, metadata={"poison": f"{KIND} {self.budget.levels}"})

    @classmethod
    def loads(cls, content: bytes) -> "Additive":
        """Read what `dumps` gave."""
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # safetensors: header length, header, data
        kind, _, levels = header.get("__metadata__", {}).get("poison", "").partition(" ")
        if kind != KIND:
            raise ValueError(f"this is not an {KIND} poison; its kind is {kind!r}")
        return cls(bank=load(content)["bank"], budget=Budget(levels=int(levels)))

    def save(self, path: Path) -> None:
        path.write_bytes(self.dumps())

    @classmethod
    def load(cls, path: Path) -> "Additive":
        return cls.loads(path.read_bytes())


def _scaled(entry: Int[np.ndarray, "3 h w"], side: int) -> Int16[np.ndarray, "side side 3"]:
    """Bilinear, antialiased where it shrinks, rounded to whole levels; a convex mean of levels stays inside the budget."""
    if entry.shape[1] != side:
        wide = torch.from_numpy(entry.astype(np.float32))[None]
        entry = F.interpolate(wide, (side, side), mode="bilinear", antialias=True)[0].round().numpy()
    return np.ascontiguousarray(entry.transpose(1, 2, 0), dtype=np.int16)
