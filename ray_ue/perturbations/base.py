"""What a poison is, and the head of the file that it is kept in."""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from ray_ue.types import Pixels

LENGTH = 8  # bytes of a safetensors file that say how long its header is
LONGEST = 100 * 2**20  # the header that safetensors itself allows


class Poison(ABC):
    """A frozen value that changes images; how it changes one depends on the image's slot."""

    kind: ClassVar[str]
    """Its name in the head of a file."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many slots it has."""

    @property
    def most(self) -> int:
        """The largest change of a channel that it can make, in levels; all of them where no budget bounds it."""
        return 255

    @abstractmethod
    def apply(self, pixels: Pixels, slot: int, *, key: str = "") -> Pixels:
        """The protected copy of one image, which the source calls `key`. A `ValueError` if there is no such slot."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write one safetensors file, the same bytes each time, that `open_poison_file` reads back."""

    def check(self, slot: int) -> None:
        """A `ValueError` unless there is such a slot."""
        if not 0 <= slot < self.slots:
            raise ValueError(f"there is no slot {slot}: the poison has {self.slots:,}")


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """(header, where the data begins) of a safetensors file; a `ValueError` if it is none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        text = file.read(length) if 0 < length <= LONGEST else b""
    try:
        header = json.loads(text) if len(text) == length else None
    except ValueError:  # no JSON, or no UTF-8
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"{path} is no safetensors file; a poison is one, with an entry 'poison' in its metadata")
    return header, LENGTH + length


def head(path: Path) -> str:
    """What a file says of the poison in it: its kind, then a number; empty if it is a safetensors file of another sort."""
    return read_header(path)[0].get("__metadata__", {}).get("poison", "")
