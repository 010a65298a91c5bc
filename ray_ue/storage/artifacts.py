"""Artifacts: fingerprints, manifests, and folders on local disk or an object store."""

import errno
import hashlib
import json
import posixpath
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from glob import has_magic
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from ray_ue.storage.addresses import local_path, refuse_nowhere, refuse_secrets
from ray_ue.storage.cache import fetched

MANIFEST = "manifest.json"
LOCK = ".lock"  # what a run holds while it writes a folder
RESTORE = "put it back as it was, or remove what it belongs to and start over"


@dataclass(frozen=True)
class Folder:
    """A folder by its URI: a local path or anything fsspec opens. Writes are whole files: a reader never sees half of one."""

    uri: str

    @classmethod
    def at(cls, uri: str) -> "Folder":
        """`uri` made absolute when it is local, without a trailing slash."""
        refuse_nowhere(str(uri))
        text = str(uri).rstrip("/") or "/"
        refuse_secrets(text)
        if "://" not in text:
            return cls(str(local_path(text)))
        return cls(text.removeprefix("file://") if text.startswith("file://") else text)

    @property
    def local(self) -> bool:
        return "://" not in self.uri

    def fs(self) -> AbstractFileSystem:
        return url_to_fs(self.uri)[0]

    def path(self, *names: str) -> str:
        """The path that this folder's file system understands."""
        return posixpath.join(url_to_fs(self.uri)[1], *names)

    def child(self, name: str) -> "Folder":
        return Folder(posixpath.join(self.uri, name))

    def resolve(self, relative: str) -> "Folder":
        """The folder at `relative`, a path with `..` that starts at this folder; it stays valid when both are moved together."""
        scheme, mark, rest = self.uri.rpartition("://")
        return Folder(f"{scheme}{mark}{posixpath.normpath(posixpath.join(rest, relative))}")

    def exists(self, name: str = "") -> bool:
        fs = self.fs()
        fs.invalidate_cache()
        return fs.exists(self.path(name) if name else self.path())

    def names(self, under: str = "") -> list[str]:
        """Names of the files directly in `under`, sorted; empty when there is no such folder. Drafts and locks are left out."""
        fs = self.fs()
        fs.invalidate_cache()
        where = self.path(under) if under else self.path()
        try:
            paths = cast(list[str], fs.ls(where, detail=False))
        except FileNotFoundError:
            return []
        return sorted(name for name in map(posixpath.basename, paths) if name and name != LOCK and ".draft-" not in name)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A binary file that appears under `name` only if the block ends well."""
        draft = f"{name}.draft-{secrets.token_hex(4)}"
        if self.local:
            target, path = Path(self.path(name)), Path(self.path(draft))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("wb") as file:
                    yield file
                path.replace(target)
            finally:
                path.unlink(missing_ok=True)
            return
        # An object appears when its upload ends, and closing a handle ends it even after an error: so write here first, then put.
        with tempfile.TemporaryDirectory(prefix="ray-ue-") as scratch:
            path = Path(scratch) / "upload"
            with path.open("wb") as file:
                yield file
            self.fs().put_file(str(path), self.path(name))

    def write(self, name: str, data: bytes) -> None:
        with self.writing(name) as file:
            file.write(data)

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """The file `name`, to be read from its start."""
        with self.fs().open(self.path(name), "rb") as file:
            yield cast(BinaryIO, file)

    def read(self, name: str) -> bytes:
        return cast(bytes, self.fs().cat_file(self.path(name)))

    def write_json(self, name: str, value: object) -> None:
        self.write(name, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

    def read_json(self, name: str) -> dict:
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise ValueError(f"{self.path(name)} is damaged ({error}); {RESTORE}") from error

    def write_table(self, name: str, table: pa.Table) -> None:
        with self.writing(name) as file:
            pq.write_table(table, file)

    def read_table(self, name: str, *, columns: tuple[str, ...] = ()) -> pa.Table:
        with self.reading(name) as file:
            try:
                return pq.ParquetFile(file).read(columns=list(columns) if columns else None)
            except pa.ArrowInvalid as error:
                raise ValueError(f"{self.path(name)} is damaged ({error}); {RESTORE}") from error

    def fetch(self, name: str) -> Path:
        """A local file with the content of `name`: itself when local, else a copy in the machine's cache of downloads."""
        return Path(self.path(name)) if self.local else fetched(self.fs(), self.path(name))

    def remove(self, name: str = "") -> None:
        """Remove a file, or a folder with all that is in it; `*`, `?` and `[` stand for themselves."""
        where = self.path(name) if name else self.path()
        fs = self.fs()
        if not fs.exists(where):
            return
        if self.local or not has_magic(where):
            fs.rm(where, recursive=True)
            return
        for path in fs.find(where) or [where]:  # `rm` would take the name for a pattern
            fs.rm_file(path)

    def take_out(self, name: str) -> None:
        """Remove a file, and the folders above it that hold nothing else then."""
        self.remove(name)
        if not self.local:
            return
        for parent in Path(name).parents[:-1]:
            try:
                Path(self.path(str(parent))).rmdir()
            except OSError:  # there is something else in it, or it is gone already
                return

    def size(self) -> float:
        """Bytes of all files below; 0 when there is no such folder."""
        return float(cast(int, self.fs().du(self.path()))) if self.exists() else 0.0

    def modified(self, name: str) -> float:
        """When the file `name` was written, in seconds since 1970."""
        return cast(datetime, self.fs().modified(self.path(name))).timestamp()

    def free_bytes(self) -> float:
        """Room left on a local disk; unlimited on an object store."""
        if not self.local:
            return float("inf")
        existing = next(p for p in (Path(self.uri), *Path(self.uri).parents) if p.exists())
        return float(shutil.disk_usage(existing).free)

    def check_writable(self) -> None:
        """Write and remove one small file, so that a missing right is found before long work; folders that were not there are not left."""
        probe = f".ray-ue-probe-{secrets.token_hex(4)}"
        made = [path for path in (Path(self.uri), *Path(self.uri).parents) if not path.exists()] if self.local else []
        try:
            self.write(probe, b"probe")
            self.remove(probe)
        except (OSError, PermissionError) as error:
            remedy = "free some room, or name a folder on another disk" if error.errno == errno.ENOSPC else "name a folder you may write to"
            raise ValueError(f"cannot write to {self.uri}: {error.strerror or error}; {remedy}") from None
        finally:
            with suppress(OSError):  # another run has written to it meanwhile
                for path in made:
                    path.rmdir()


def fingerprint(stage: str, *, version: int, fields: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """16 hex digits that move when, and only when, what identifies a stage's result moves."""
    text = json.dumps([stage, version, dict(fields), dict(inputs)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a finished artifact says of itself; written last."""

    stage: str
    fingerprint: str
    fields: dict = field(default_factory=dict)
    inputs: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A finished folder and its manifest."""

    folder: Folder
    manifest: Manifest

    @property
    def facts(self) -> dict:
        return self.manifest.facts

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint


def finish(folder: Folder, manifest: Manifest) -> Artifact:
    """Write the manifest, which makes the folder an artifact."""
    folder.write_json(MANIFEST, asdict(manifest))
    return Artifact(folder=folder, manifest=manifest)


def finished(folder: Folder) -> bool:
    return folder.exists(MANIFEST)


def opened(folder: Folder) -> Artifact:
    """The artifact in `folder`; a `ValueError` if the work in it never finished."""
    if not finished(folder):
        raise ValueError(f"{folder.uri} holds no finished artifact (no {MANIFEST}); run the stage that writes it first")
    return Artifact(folder=folder, manifest=Manifest(**folder.read_json(MANIFEST)))
