"""The reading side of a place, local or object store: lists, opens, fetches."""

import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.utils import get_protocol

from ray_ue.sources.walk import PART, Entry, link_of, walk
from ray_ue.storage.addresses import refuse_nowhere, refuse_secrets

BLOCK = 4 * 2**20  # bytes per ranged read: the latency of one request is then small against its transfer
HEAD = 32  # bytes that tell what kind of file it is
AT_ONCE = 16  # requests in flight per shard on an object store

T = TypeVar("T")

if TYPE_CHECKING:
    Stream = BinaryIO
else:
    Stream = io.IOBase  # what fsspec's files are: they do not inherit from `BinaryIO`


def batches(things: Iterator[T], *, size: int) -> Iterator[list[T]]:
    while batch := list(islice(things, size)):
        yield batch


def normal(uri: str) -> str:
    """An absolute path for local places, the URI without a closing slash for others; a `ValueError` if it carries a password or key."""
    refuse_secrets(uri)
    refuse_nowhere(uri)
    if get_protocol(uri) in ("file", "local"):
        return os.path.abspath(os.path.expanduser(uri.removeprefix("file://").removeprefix("local://")))
    return uri.rstrip("/")


def connect(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URI and the path inside it."""
    try:
        return url_to_fs(uri)
    except ImportError as error:
        raise ValueError(f"{uri!r} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise ValueError(f"cannot open {uri!r}: {error}; use a local path, file://, s3://, gs:// or memory://") from error


def is_local(uri: str) -> bool:
    return get_protocol(uri) == "file"


def unanswered(uri: str) -> Exception | None:
    """What a place raises when asked for a file that cannot be there; None if it answers."""
    try:
        fs, path = connect(uri)
        fs.invalidate_cache()
        fs.exists(f"{path}/{PART}")
    except Exception as error:  # noqa: BLE001 - whatever its client raises is the answer
        return error
    return None


@dataclass(frozen=True, kw_only=True)
class Location:
    """A folder; `uri` is as `normal` gives it. Holds no connection, so that it travels to workers."""

    uri: str

    def full(self, relative: str) -> str:
        return f"{connect(self.uri)[1].rstrip('/')}/{relative}"

    def entries(self, only: Sequence[str] = ()) -> list[Entry]:
        """All files below, or `only` these, as (relative path, size, what is odd about the way there), sorted by path."""
        if only:
            return [(name, size, self.way_to(name)) for name, size in self.named_entries(only)]
        if is_local(self.uri):
            return sorted(walk(Path(self.uri), root=os.path.realpath(self.uri), prefix="", above=(), way=""))
        fs, path = connect(self.uri)
        fs.invalidate_cache()
        return [(name, size, "") for name, size in _relative(cast(dict[str, dict], fs.find(path, detail=True)), path=path)]

    def named_entries(self, names: Sequence[str]) -> list[tuple[str, int]]:
        """These files only; a `ValueError` tells which are missing. On an object store each folder is listed once."""
        if is_local(self.uri):
            paths = {name: Path(self.uri) / name for name in names}
            sizes = {name: path.stat().st_size for name, path in paths.items() if path.is_file()}  # links to files are files
        else:
            sizes = self._listed_sizes(names)
        if missing := [name for name in names if name not in sizes]:
            raise ValueError(f"{len(missing)} of {len(names)} files are missing in {self.uri!r}: {', '.join(missing[:3])}")
        return sorted((name, sizes[name]) for name in names)

    def _listed_sizes(self, names: Sequence[str]) -> dict[str, int]:
        """The sizes of these and their neighbours on an object store: one request a folder."""
        fs, path = connect(self.uri)
        fs.invalidate_cache()
        sizes: dict[str, int] = {}
        for folder in sorted({name.rpartition("/")[0] for name in names}):
            try:
                listed = fs.ls(f"{path}/{folder}".rstrip("/"), detail=True)
            except FileNotFoundError:
                continue
            sizes.update(_relative({info["name"]: info for info in listed}, path=path))
        return sizes

    def way_to(self, name: str) -> str:
        """What is odd about the way to a local name; empty without a link on it."""
        root, path = os.path.realpath(self.uri), Path(self.uri) / name
        return link_of(root, str(path)) if is_local(self.uri) and os.path.realpath(path) != f"{root.rstrip('/')}/{name}" else ""

    def open(self, relative: str) -> Stream:
        if is_local(self.uri):
            return open(Path(self.uri) / relative, "rb")
        fs = connect(self.uri)[0]
        return cast(Stream, fs.open(self.full(relative), "rb", block_size=BLOCK, cache_type="readahead"))

    @contextmanager
    def on_disk(self, relative: str) -> Iterator[Path]:
        """A file as a local path, for those who read it more than once: fetched first from an object store, once."""
        if is_local(self.uri):
            yield Path(self.uri) / relative
            return
        with tempfile.TemporaryDirectory(prefix=PART) as folder:
            connect(self.uri)[0].get_file(self.full(relative), str(path := Path(folder) / "part"))
            yield path

    def fetch(self, names: Iterator[str]) -> Iterator[bytes]:
        """Whole files in order, a few at once on an object store; a `ValueError` names one that is gone since it was listed."""
        if is_local(self.uri):
            for name in names:
                with self._name_missing_file():
                    data = (Path(self.uri) / name).read_bytes()
                yield data
            return
        yield from self._ranges(names, end=None, at_once=AT_ONCE)

    def heads(self, names: Iterator[str], *, length: int = HEAD) -> Iterator[bytes]:
        """The first `length` bytes of files; errors as in `fetch`."""
        if is_local(self.uri):
            for name in names:
                with self._name_missing_file(), self.open(name) as file:
                    head = file.read(length)
                yield head
            return
        yield from self._ranges(names, end=length, at_once=4 * AT_ONCE)

    def _ranges(self, names: Iterator[str], *, end: int | None, at_once: int) -> Iterator[bytes]:
        fs = connect(self.uri)[0]
        for batch in batches(names, size=at_once):
            paths = [self.full(name) for name in batch]
            with self._name_missing_file():  # fsspec's default gives errors back in the place of bytes
                ranges = fs.cat_ranges(paths, [0] * len(paths), [end] * len(paths), on_error="raise")
            yield from ranges

    @contextmanager
    def _name_missing_file(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ValueError(
                f"{error.filename or error} was in {self.uri!r} when it was listed and is gone; run the same line again: it lists anew"
            ) from error


def _relative(listed: dict[str, dict], *, path: str) -> list[tuple[str, int]]:
    """A listing of an object store relative to `path`; folder markers and unfinished files are no files."""
    root = path.rstrip("/") + "/"
    pairs = ((name.removeprefix(root), info) for name, info in listed.items() if name.startswith(root))
    return sorted(
        (name, int(info.get("size") or 0))
        for name, info in pairs
        if name and info["type"] == "file" and not name.endswith("/") and not name.rpartition("/")[2].startswith(PART)
    )
