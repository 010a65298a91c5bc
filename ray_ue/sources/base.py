"""What a source is: a sorted list of shards whose rows are images, readable and rewritable one shard at a time; no format is known here."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from ray_ue.images import kind_of_name, looks_like_image
from ray_ue.sources.metadata import is_metadata, renamed
from ray_ue.sources.naming import printable
from ray_ue.sources.storage import Place, is_local, normal
from ray_ue.sources.target import Target

ROW_SCHEMA = pa.schema([("key", pa.string()), ("label", pa.int64()), ("offset", pa.int64()), ("size", pa.int64())])


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A loose file: `path` in the source, `goal` in the copy (for an image still without its extension), `label` -1 when there is none."""

    path: str
    size: int
    is_image: bool
    goal: str
    label: int = -1


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The unit of rewriting: one Parquet or tar file, or a run of loose `files`."""

    number: int
    path: str
    size: int
    files: tuple[File, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image on its way through a rewrite."""

    key: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Written:
    """One image in the copy; `name` is its path there, `key` the row it came from, empty for what was copied as it is."""

    key: str
    name: str
    sha256: str
    size: int

    @classmethod
    def of(cls, key: str, *, name: str, data: bytes) -> "Written":
        return cls(key=key, name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


# Gives, in the order of the items, the bytes to write instead, or None to leave the row out.
Change = Callable[[Iterator[Item]], Iterator[bytes | None]]


def answers(items: Iterator[Item], change: Change) -> Iterator[tuple[str, bytes | None]]:
    """Each item's key with its reply; items are drawn only as `change` asks for them."""
    waiting: deque[str] = deque()

    def feed() -> Iterator[Item]:
        for item in items:
            waiting.append(item.key)
            yield item

    for reply in change(feed()):
        assert waiting, "change gave more replies than it took items"
        yield waiting.popleft(), reply
    assert not waiting, "change gave fewer replies than it took items"
    assert next(items, None) is None, "change did not take all items"


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Images at `root`, as `storage.normal` gives it; `only` names the files that count, empty for all below.

    Positions are shard order, then order within the shard; keys are unique.
    """

    root: str
    only: tuple[str, ...] = ()
    format: ClassVar[str]

    @property
    def place(self) -> Place:
        return Place(uri=self.root)

    def listing(self) -> list[tuple[str, int]]:
        """(path, size) of every file that the copy will account for, sorted by path."""
        return [(name, size) for name, size, stray in self._found() if not stray]

    def strays(self) -> list[str]:
        """What a link out of the source leads to and is neither image nor shard: a copy of it would publish a file from elsewhere."""
        return [name for name, _, stray in self._found() if stray]

    def _found(self) -> list[tuple[str, int, bool]]:
        if self.only:
            found = [(name, size, self.place.outside(name)) for name, size in self.place.chosen(self.only)]
        else:
            found = self.place.entries()
        return [(name, size, away and not self.takes(name, size)) for name, size, away in found]

    def takes(self, name: str, size: int) -> bool:
        """Whether a file is an image by its name, or by its first bytes where the name says nothing."""
        kind = kind_of_name(name)
        return kind == "image" or (kind == "unknown" and size > 0 and looks_like_image(next(self.place.heads(iter([name])))))

    def digest(self) -> str:
        """Moves when a file is added, removed, renamed or resized."""
        total = hashlib.sha256()
        for path, size in self.listing():
            total.update(f"{path}\0{size}\n".encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    def mended(self, file: File, extension: str) -> bytes | None:
        """What the copy holds instead of a file that is no image, where its words would be wrong there; None for all other files.

        A metadata file that names images names them as the copy does.
        """
        return self._renamed(file, extension, left_out=frozenset()) if is_metadata(file.path) else None

    def _renamed(self, file: File, extension: str, *, left_out: Set[str]) -> bytes | None:
        images = [found for shard in self.shards() for found in shard.files if found.is_image]
        goals = {found.path: "" if printable(found.path) in left_out else found.goal + extension for found in images}
        return renamed(next(self.place.fetch(iter([file.path]))), path=file.path, goals=goals) if goals else None

    def leave_out(self, keys: Set[str], *, to: str, extension: str) -> Iterator[tuple[Shard, Written]]:
        """Write the metadata files of a copy again, without the rows that name images which it does not hold; each with its shard."""
        target = Target(uri=normal(to))
        for shard in self.shards():
            for file in shard.files:
                if not file.is_image and is_metadata(file.path) and (data := self._renamed(file, extension, left_out=keys)) is not None:
                    target.put({file.goal: data})
                    yield shard, Written.of("", name=file.goal, data=data)

    @abstractmethod
    def shards(self) -> list[Shard]:
        """All of them, the format's own before those of loose files; a `ValueError` if there is none with images."""

    @abstractmethod
    def class_names(self) -> list[str]:
        """Names of the labels 0, 1, …; empty when unknown."""

    @abstractmethod
    def rows(self, shard: Shard) -> pa.Table:
        """The images of a shard in `ROW_SCHEMA`, none decoded. `offset` is for `read`."""

    @abstractmethod
    def read(self, shard: Shard, rows: pa.Table) -> Iterator[bytes]:
        """The bytes of some rows of the shard, in their order; empty where the source holds none."""

    @abstractmethod
    def _copy(self, shard: Shard, *, target: Target, extension: str, change: Change) -> Iterator[Written]: ...

    def rewrite(self, shard: Shard, *, to: str, extension: str, change: Change) -> Iterator[Written]:
        """Write this shard's part of the copy under `to`: images as `change` gives them and named by `extension`, the rest as it is.

        A file appears whole or not at all, and only as the iterator is drawn to its end. Running it again overwrites with the same.
        """
        target = Target(uri=normal(to))
        here, there = (os.path.realpath(uri) if is_local(uri) else uri for uri in (self.root, target.uri))
        if there == here or (not self.only and there.startswith(here.rstrip("/") + "/")):
            raise ValueError(f"the copy {to!r} lies in its own source {self.root!r}: write it elsewhere")
        return self._copy(shard, target=target, extension=extension, change=change)
