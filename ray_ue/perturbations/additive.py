"""Banks of deltas that are added to images: in memory, in a mapped file, or in the table that they are made in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int8

from ray_ue.perturbations.base import LENGTH, Poison, read_header
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.perturbations.fitting import Delta, Entry, Scaled, SquareCache, assembled, fitted
from ray_ue.types import Bank, Pixels

READ = 64 * 2**20  # bytes of a bank that are in memory at a time when it is copied
KIND = "additive"

Block = Int8[np.ndarray, "_ 3 h w"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Additive(Poison):
    """One delta per slot, in whole levels, added with clipping. A mapped bank is measured entry by entry, when one is used."""

    kind: ClassVar[str] = KIND
    bank: Bank
    budget: Budget
    _squares: SquareCache = field(default_factory=SquareCache, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.bank.dtype != np.int8 or self.bank.ndim != 4 or self.bank.shape[1] != 3 or self.bank.shape[2] != self.bank.shape[3]:
            raise ValueError(f"a bank is int8 with shape [slots, 3, side, side], got {self.bank.dtype} {self.bank.shape}")
        if not isinstance(self.bank, np.memmap):
            _refuse_beyond(self.bank, budget=self.budget)

    @property
    def slots(self) -> int:
        return len(self.bank)

    @property
    def most(self) -> int:
        return self.budget.levels

    @property
    def side(self) -> int:
        return self.bank.shape[2]

    def blocks(self) -> Iterator[Block]:
        """The entries in the order of the slots, some at a time."""
        size = max(1, READ // (3 * self.side**2))
        for begin in range(0, self.slots, size):
            yield np.asarray(self.bank[begin : begin + size])

    def delta(self, slot: int, *, height: int, width: int) -> Delta:
        """The slot's square, scaled to the image's shorter side, centred, and mirrored along the longer one.

        A victim that scales the shorter side and crops the centre sees the crafted square at any aspect ratio.
        """
        self.check(slot)
        return assembled(fitted(self._square(slot, min(height, width)), height=height, width=width), height=height, width=width)

    def apply(self, pixels: Pixels, slot: int, *, key: str = "") -> Pixels:
        self.check(slot)
        height, width = pixels.shape[:2]
        return self.budget.apply_parts(pixels, fitted(self._square(slot, min(height, width)), height=height, width=width))

    def save(self, path: Path) -> None:
        write_bank(path, self.blocks(), slots=self.slots, side=self.side, budget=self.budget)

    @classmethod
    def open(cls, path: Path, levels: int) -> "Additive":
        """The bank in a file, mapped. A `ValueError` if the file is shorter than its header says."""
        header, begin = read_header(path)
        shape = tuple(header["bank"]["shape"])
        if path.stat().st_size != (size := begin + int(np.prod(shape))):
            raise ValueError(f"{path} has {path.stat().st_size:,} bytes where its header promises {size:,}; copy it again")
        return cls(bank=np.memmap(path, np.int8, mode="r", offset=begin, shape=shape), budget=Budget(levels=levels))

    def _square(self, slot: int, side: int) -> Scaled:
        if side == self.side or not self._squares.holds(side):  # nothing to scale, or too large: nothing to keep
            return Scaled.of(self._entry(slot), side)
        return self._squares.get_or_make((slot, side), lambda: Scaled.of(self._entry(slot), side).whole())

    def _entry(self, slot: int) -> Entry:
        entry = np.asarray(self.bank[slot])
        if isinstance(self.bank, np.memmap):
            _refuse_beyond(entry, budget=self.budget)
        return entry


@dataclass(frozen=True, kw_only=True, eq=False)
class Streamed(Poison):
    """The deltas of a table as round `turn` left them, slot i for row i: saved as `Additive` saves a bank, one block in memory."""

    kind: ClassVar[str] = KIND
    deltas: DeltaTable
    turn: int

    @property
    def slots(self) -> int:
        return self.deltas.rows

    @property
    def side(self) -> int:
        return self.deltas.side

    @property
    def budget(self) -> Budget:
        return self.deltas.budget

    @property
    def most(self) -> int:
        return self.budget.levels

    def blocks(self) -> Iterator[Block]:
        """The entries in the order of the slots, some at a time."""
        return self.deltas.levels(self.turn)

    def apply(self, pixels: Pixels, slot: int, *, key: str = "") -> Pixels:
        self.check(slot)
        height, width = pixels.shape[:2]
        entry = self.budget.quantise(self.deltas.read(self.turn, np.array([slot]))[0].cpu().numpy())
        return self.budget.apply_parts(pixels, fitted(Scaled.of(entry, min(height, width)), height=height, width=width))

    def save(self, path: Path) -> None:
        write_bank(path, self.blocks(), slots=self.slots, side=self.side, budget=self.budget)


def write_bank(path: Path, entries: Iterator[Block], *, slots: int, side: int, budget: Budget) -> None:
    """Write a bank that comes in blocks, in the order of the slots; the file is what `Additive.save` gives, byte for byte.

    A `ValueError` if a block has another side, is beyond the budget, or if there are not `slots` entries in all.
    """
    shape = (slots, 3, side, side)
    about = {"dtype": "I8", "shape": shape, "data_offsets": [0, int(np.prod(shape))]}
    header = {"__metadata__": {"poison": f"{KIND} {budget.levels}"}, "bank": about}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)  # safetensors aligns the data
    with path.open("wb") as file:
        file.write(len(text).to_bytes(LENGTH, "little") + text)
        written = 0
        for block in entries:
            if block.shape[1:] != shape[1:] or block.dtype != np.int8:
                raise ValueError(f"a block of the bank is {block.dtype} {block.shape[1:]}, it should be int8 {shape[1:]}")
            _refuse_beyond(block, budget=budget)
            file.write(np.ascontiguousarray(block).data)
            written += len(block)
    if written != slots:
        raise ValueError(f"the bank has {written:,} entries for {slots:,} slots")


def _refuse_beyond(levels: Int8[np.ndarray, "..."], *, budget: Budget) -> None:
    if (most := max(int(levels.max(initial=0)), -int(levels.min(initial=0)))) > budget.levels:
        raise ValueError(f"the bank reaches {most} levels, but its budget is {budget.levels}")
