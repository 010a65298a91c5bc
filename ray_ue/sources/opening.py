"""Turns what a user typed into a source, or into a `ValueError` that says what would have worked; reads no image."""

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, cast

from braceexpand import braceexpand

from ray_ue.progress import counted
from ray_ue.registry import pick
from ray_ue.sources.arrow import ArrowFiles
from ray_ue.sources.base import Source
from ray_ue.sources.folder import ImageFolder
from ray_ue.sources.image_files import kind_of_name, suffix_of
from ray_ue.sources.parquet import ParquetFiles
from ray_ue.sources.sidecars import NAMES, is_carried, is_hidden
from ray_ue.sources.storage import Location, connect, normal
from ray_ue.sources.walk import TRAVELS
from ray_ue.sources.webdataset import WebDataset
from ray_ue.storage.addresses import what_is_odd

Format = Literal["auto", "folder", "parquet", "arrow", "webdataset"]  # auto and the names in FORMATS
FORMATS: Final[dict[str, type[Source]]] = {"folder": ImageFolder, "parquet": ParquetFiles, "arrow": ArrowFiles, "webdataset": WebDataset}
SUFFIXES: Final = {".parquet": "parquet", ".arrow": "arrow", ".tar": "webdataset"}  # of packed files
PATTERN = re.compile(r"[{*?\[]")
PACKED_TAR = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz)$", re.IGNORECASE)
ARCHIVE = re.compile(r"\.(zip|7z|rar)$", re.IGNORECASE)


def open_source(uri: str, *, format: str = "auto", carry: tuple[str, ...] = ()) -> Source:
    """The images at `uri`: a folder, one `.tar` or `.parquet` file, or a pattern such as `{00000..00511}.tar` or `*.parquet`.

    `carry` are patterns of files that travel into a copy although they are no known sidecars.
    """
    if format != "auto":
        pick({**FORMATS, "auto": Source}, format, what="source format")
    if not uri.strip():
        raise ValueError("the source is empty; give a folder, a .tar or .parquet file, or a pattern such as data/{00000..00511}.tar")
    try:
        root, only = _locate(normal(uri), uri=uri)
        entries = tuple(Location(uri=root).entries(only))
        names = [name for name, _, odd in entries if odd in TRAVELS and (not is_hidden(name) or is_carried(name, carry))]
    except ValueError:
        raise
    except Exception as error:  # each object store has its own exceptions; all mean that the user's place cannot be listed
        raise ValueError(f"cannot list {uri!r}: {type(error).__name__}: {error}; check the address and your access to it") from error
    if not names:
        hidden = f", only {len(entries)} hidden ones such as {entries[0][0]!r}" if entries else ""
        raise ValueError(f"{uri!r} holds no files{hidden}; give a folder of images, .parquet, .arrow or .tar files")
    kind = FORMATS[_guess(names, uri=uri) if format == "auto" else format]
    source = kind(root=root, only=only, address=normal(uri), entries=entries, carry=carry)
    _check(source, names, uri=uri)
    return source


def _locate(place: str, *, uri: str) -> tuple[str, tuple[str, ...]]:
    """The root folder and the files named in it; no names stand for the whole folder."""
    fs, path = connect(place)
    fs.invalidate_cache()
    if fs.isfile(path):
        root, _, name = place.rpartition("/")
        return root or "/", (name,)
    if fs.isdir(path):
        return place, ()
    if "://" not in place and (odd := what_is_odd(place)):
        raise ValueError(f"{uri!r} {odd}, no folder or file; give a folder of images")
    if not (first := PATTERN.search(place)):
        raise ValueError(f"there is no {uri!r}; give an existing folder, .tar or .parquet file, or a pattern such as {{00000..00511}}.tar")
    root = place[: first.start()].rpartition("/")[0] or "/"
    try:
        patterns = list(braceexpand(place[len(root.rstrip("/")) + 1 :]))
    except ValueError as error:
        raise ValueError(f"cannot read the pattern {uri!r}: {error}; write for example {{00000..00511}}.tar") from error
    names = [name for pattern in patterns for name in _globbed(root, pattern)]
    if not names:
        raise ValueError(f"no file matches {uri!r} in {root!r}")
    return root, tuple(sorted(set(names)))


def _globbed(root: str, pattern: str) -> list[str]:
    """Names that match a pattern; one without `*`, `?` or `[` names itself, so that its absence is noticed."""
    if not re.search(r"[*?\[]", pattern):
        return [pattern]
    fs, path = connect(root)
    base = path.rstrip("/") + "/"
    matches = cast(dict[str, dict], fs.glob(base + pattern, detail=True))
    return [name.removeprefix(base) for name, info in matches.items() if info["type"] == "file"]


def _guess(names: Sequence[str], *, uri: str) -> str:
    """The one format that all of these files fit; a mixture is the user's to decide, as the rest would be left out.

    Archives beside others are left out; where there is nothing else, they must be unpacked.
    """
    count, packed = Counter[str](), Counter[str]()
    beside = any(kind_of_name(name) == "image" for name in names)
    for name in names:
        if beside and posixpath.basename(name).lower() in NAMES:
            continue  # metadata.parquet of loose images
        if PACKED_TAR.search(name):
            packed["compressed tar"] += 1
        elif ARCHIVE.search(name):
            packed["archive"] += 1
        elif suffix_of(name).lower() in SUFFIXES:
            count[suffix_of(name).lower()] += 1
        elif kind_of_name(name) == "image":
            count["image"] += 1
    told = " and ".join(counted(number, f"{what} file") for what, number in sorted((count or packed).items()))
    if len(count) > 1:
        raise ValueError(
            f"{uri!r} mixes {told}; say --format {' or '.join(FORMATS)} to choose which are protected: "
            "packed files of another format are then left out of the copy"
        )
    if "compressed tar" in packed and not count:
        raise ValueError(f"{uri!r} has {told}; shards must be plain .tar files: decompress them first")
    if packed and not count:
        raise ValueError(f"{uri!r} has {told}; unpack them first into a folder of images")
    return SUFFIXES.get(next(iter(count), ""), "folder")


def _check(source: Source, names: Sequence[str], *, uri: str) -> None:
    """That the chosen format has something to protect here."""
    suffix = {format: ending for ending, format in SUFFIXES.items()}.get(source.format, "")
    if suffix and not any(name.lower().endswith(suffix) for name in names):
        raise ValueError(f"{uri!r} holds no {suffix} file, so it is no {source.format} source; say --format auto, or name another folder")
    if not suffix and all(kind_of_name(name) == "other" for name in names):
        raise ValueError(f"{uri!r} holds no images, only {len(names)} other files such as {names[0]!r}; name a folder with images")
