"""The listing of a source: its files and shards, and the table in which an index keeps them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import pyarrow as pa

from ray_ue.storage.artifacts import Folder

TABLE = "listing.parquet"
SCHEMA = pa.schema(
    [
        ("shard", pa.int64()),
        ("shard_path", pa.binary()),
        ("shard_size", pa.int64()),
        ("path", pa.binary()),  # as bytes, for names need not be UTF-8; null: the shard is a file itself
        ("size", pa.int64()),
        ("is_image", pa.bool_()),
        ("goal", pa.binary()),
        ("label", pa.int64()),
    ]
)


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


def save_listing(shards: Sequence[Shard], folder: Folder) -> None:
    """Write one line per loose file and per packed shard."""
    lines = []
    for shard in shards:
        head = (shard.number, os.fsencode(shard.path), shard.size)
        lines += [(*head, os.fsencode(file.path), file.size, file.is_image, os.fsencode(file.goal), file.label) for file in shard.files]
        if not shard.files:
            lines.append((*head, None, None, None, None, None))
    columns = zip(*lines, strict=True)
    folder.write_table(TABLE, pa.table(list(map(list, columns)), schema=SCHEMA))


@lru_cache(maxsize=2)
def load_listing(folder: Folder) -> list[Shard]:
    """The shards that `save_listing` has written, in their order."""
    columns = [column.to_pylist() for column in folder.read_table(TABLE).columns]
    shards: dict[int, Shard] = {}
    files: dict[int, list[File]] = {}
    for number, shard_path, shard_size, path, size, is_image, goal, label in zip(*columns, strict=True):
        shards.setdefault(number, Shard(number=number, path=os.fsdecode(shard_path), size=shard_size))
        if path is not None:
            file = File(path=os.fsdecode(path), size=size, is_image=is_image, goal=os.fsdecode(goal), label=label)
            files.setdefault(number, []).append(file)
    return [replace(shard, files=tuple(files.get(number, ()))) for number, shard in shards.items()]
