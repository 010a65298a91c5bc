"""What a source is: a sorted list of shards whose rows are images, readable and rewritable one shard at a time; no format is known here."""

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import ClassVar

import pyarrow as pa

from ray_ue.sources.image_files import kind_of_name, looks_like_image, suffix_of
from ray_ue.sources.listing import File, Shard, load_listing, save_listing
from ray_ue.sources.metadata import is_metadata, renamed
from ray_ue.sources.naming import printable
from ray_ue.sources.sidecars import HIDDEN, LONGEST_WORDS, is_carried, is_hidden, why_content_left_out, why_head_left_out, why_left_out
from ray_ue.sources.storage import Location, is_local, normal
from ray_ue.sources.target import Target
from ray_ue.sources.walk import LINKED, TRAVELS, TWICE, Entry
from ray_ue.storage.artifacts import Folder

MOST_LOOKED_AT = 20_000  # sidecars on an object store whose content is looked at, a request each
ROW_SCHEMA = pa.schema([("key", pa.string()), ("label", pa.int64()), ("offset", pa.int64()), ("size", pa.int64())])


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


def match_replies(items: Iterator[Item], change: Change) -> Iterator[tuple[str, bytes | None]]:
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

    Positions are shard order, then order within the shard; keys are unique. A source is listed once: `address` is what the user gave,
    `entries` what was found there, and `listing` a folder in which `save_listing` has kept the shards. `entries` stay in this process.
    `carry` are patterns of further files that travel into a copy, as `sidecars` says. `published` has the key and the name of every
    loose image that the copy holds already: no other image takes its name. `rejected` are the keys of those that earlier runs left out.
    `generation` is how many runs have changed the copy before these files join it, 0 for the first. `unread` are formats among the files
    that could not be read when the copy was begun, for want of a package.
    """

    root: str
    only: tuple[str, ...] = ()
    address: str = ""
    entries: tuple[Entry, ...] | None = field(default=None, repr=False, compare=False)
    listing: Folder | None = None
    carry: tuple[str, ...] = ()
    published: tuple[tuple[str, str], ...] = field(default=(), repr=False, compare=False)
    rejected: tuple[str, ...] = field(default=(), repr=False, compare=False)
    generation: int = 0
    unread: tuple[str, ...] = ()
    format: ClassVar[str]
    identity: ClassVar[str]
    """The format's name in fingerprints; it never changes."""

    def __getstate__(self) -> dict[str, object]:
        return {entry.name: None if entry.name == "entries" else getattr(self, entry.name) for entry in fields(self)}

    @property
    def place(self) -> Location:
        return Location(uri=self.root)

    def files(self) -> list[tuple[str, int]]:
        """(path, size) of every file that the copy will account for, sorted by path."""
        return [(name, size) for name, size, reason in self._entries if not reason]

    def left_out(self) -> list[tuple[str, str]]:
        """(path, reason) of every file that is neither an image nor known to belong beside one: a copy of it would publish it unasked."""
        return [(name, reason) for name, _, reason in self._entries if reason]

    def linked(self) -> list[str]:
        """Paths of the images that links bring from outside of a local folder; none of a link that leads nowhere."""
        return self._brought(LINKED)

    def doubled(self) -> list[str]:
        """Paths of the images that links bring a second time, from another place in a local folder."""
        if not any(odd == TWICE for _, _, odd in self._found):
            return []
        root, travel = os.path.realpath(self.root), {name for name, _ in self.files()}
        beside = {file.path for shard in self.shards() for file in shard.files if not file.is_image}
        brought = (name for name in self._brought(TWICE) if name not in beside)
        return [name for name in brought if os.path.relpath(os.path.realpath(os.path.join(root, name)), root) in travel]

    def _brought(self, way: str) -> list[str]:
        travel = {name for name, _ in self.files()}
        return [name for name, size, odd in self._found if odd == way and size and name in travel]

    @cached_property
    def _found(self) -> tuple[Entry, ...]:
        """(path, size, what is odd about the way there or nothing) of every file."""
        return tuple(self.place.entries(self.only)) if self.entries is None else self.entries

    @cached_property
    def _entries(self) -> list[Entry]:
        """(path, size, why it is left out or nothing) of every file."""
        entries = self._found
        seen = [(name, size, HIDDEN if odd in TRAVELS and not self._wanted(name) else odd) for name, size, odd in entries]
        looked_at = [name for name, size, reason in seen if reason in TRAVELS and size and kind_of_name(name) == "unknown"]
        images = {name for name, head in zip(looked_at, self.place.heads(iter(looked_at)), strict=True) if looks_like_image(head)}
        judged = [(name, size, self._reason(name, reason, is_image=name in images)) for name, size, reason in seen]
        beside = {name: size for name, size, reason in judged if not reason and name not in images and self._is_sidecar(name)}
        why = self._looked_into(beside)
        return [(name, size, reason or why.get(name, "")) for name, size, reason in judged]

    def _is_sidecar(self, name: str) -> bool:
        """Whether a file travels by what it is called, and not because the user asked for it."""
        return not self.takes(name) and not is_carried(name, self.carry)

    def _looked_into(self, sidecars: Mapping[str, int]) -> dict[str, str]:
        """Why files do not travel although they are called as sidecars are, by name; on an object store the names of most decide."""
        looked_at = [name for name, size in sidecars.items() if size][: None if is_local(self.root) else MOST_LOOKED_AT]
        why = {}
        for name, head in zip(looked_at, self.place.heads(iter(looked_at), length=LONGEST_WORDS), strict=True):
            why[name] = why_head_left_out(name, head)
            if not why[name]:
                with io.BytesIO(head) if sidecars[name] <= LONGEST_WORDS else self.place.open(name) as file:
                    why[name] = why_content_left_out(name, file)
        return why

    def _wanted(self, name: str) -> bool:
        return not is_hidden(name) or is_carried(name, self.carry)

    def _reason(self, name: str, reason: str, *, is_image: bool) -> str:
        if reason not in TRAVELS or is_image or self.takes(name):
            return reason if reason not in TRAVELS else ""
        return reason.replace(TWICE, "") or ("" if is_carried(name, self.carry) else why_left_out(name))

    def renamed(self, extension: str) -> list[tuple[str, str]]:
        """(name in the source, name in the copy) of every loose file that could not keep its name, but for an image's extension."""
        files = (file for shard in self.shards() for file in shard.files if file.goal != _kept_name(file))
        return [(printable(file.path), file.goal + (extension if file.is_image else "")) for file in files]

    def shards(self) -> list[Shard]:
        """All of them, the format's own before those of loose files; a `ValueError` if there is none with images."""
        return self._shards

    @cached_property
    def _shards(self) -> list[Shard]:
        return self._list_shards() if self.listing is None else load_listing(self.listing)

    def save_listing(self, folder: Folder) -> None:
        """Keep the shards in `folder` for later stages and other processes, as `listing.parquet`: one line per file."""
        save_listing(self.shards(), folder)

    def unchanged(self) -> list[str]:
        """What else the packed files hold that is copied with the images, unread: kinds of members or columns of the first of them."""
        return []

    def takes(self, name: str) -> bool:
        """Whether a file's name alone makes it an image."""
        return kind_of_name(name) == "image"

    def digest(self) -> str:
        """Moves when a file is added, removed, renamed or resized."""
        total = hashlib.sha256()
        for path, size in self.files():
            total.update(f"{path}\0{size}\n".encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    def replacement(self, file: File, extension: str) -> bytes | None:
        """What the copy holds instead of a file that is no image, where its words would be wrong there; None for all other files.

        A metadata file that names images names them as the copy does.
        """
        return self._renamed(file, extension, left_out=frozenset()) if is_metadata(file.path) else None

    def _renamed(self, file: File, extension: str, *, left_out: Set[str]) -> bytes | None:
        images = [image for shard in self.shards() for image in shard.files if image.is_image]
        goals = dict.fromkeys(self.rejected, "") | dict(self.published)
        goals |= {image.path: "" if printable(image.path) in left_out else image.goal + extension for image in images}
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
    def _list_shards(self) -> list[Shard]: ...

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
        source, copy = (os.path.realpath(uri) if is_local(uri) else uri for uri in (self.root, target.uri))
        if copy == source or (not self.only and copy.startswith(source.rstrip("/") + "/")):
            raise ValueError(f"the copy {to!r} lies in its own source {self.root!r}: write it elsewhere")
        return self._copy(shard, target=target, extension=extension, change=change)


def _kept_name(file: File) -> str:
    """A loose file's own name, as a copy keeps it where it can."""
    is_named = file.is_image and kind_of_name(file.path) == "image"
    return file.path.removesuffix(suffix_of(file.path)) if is_named else file.path
