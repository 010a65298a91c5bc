"""Arrow streams with one image a row, as Hugging Face's `save_to_disk` writes them."""

import json
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import pyarrow as pa

from ray_ue.sources.base import ROW_SCHEMA, Change, File, Shard, Written
from ray_ue.sources.batches import BATCH, key, rewrite_batches
from ray_ue.sources.columns import Column, image_column
from ray_ue.sources.features import anonymous, class_names, has_labels
from ray_ue.sources.naming import safe
from ray_ue.sources.packed import Packed
from ray_ue.sources.target import Target

STATE = "state.json"  # is next to the shards of a data set and lists them
CACHE = "cache-"  # begins the name of what `map` keeps next to them
OTHER_FORMAT = b"ARROW1"


@final
@dataclass(frozen=True, kw_only=True)
class ArrowFiles(Packed):
    """Keys are `file.arrow/position`; the label is the integer column `label`. `offset` is where an image's bytes begin in its file."""

    format: ClassVar[str] = "arrow"
    identity: ClassVar[str] = "ArrowFiles"
    suffix: ClassVar[str] = ".arrow"

    @contextmanager
    def open_file(self, path: str) -> Iterator[tuple[pa.Buffer, pa.RecordBatchReader]]:
        """A whole file in a memory map, and its batches, which point into it."""
        with self.place.on_disk(path) as file, file.open("rb") as head:
            if head.read(len(OTHER_FORMAT)) == OTHER_FORMAT:
                raise ValueError(f"{path} is an Arrow file, not the stream that save_to_disk writes: load it, and save it so or as Parquet")
            try:
                whole = pa.memory_map(str(file)).read_buffer()
                reader = pa.ipc.open_stream(whole)
            except (pa.ArrowException, OSError, EOFError) as error:
                raise ValueError(f"{path} is not an Arrow stream, or is damaged: {error}") from error
            yield whole, reader

    def _list_shards(self) -> list[Shard]:
        """A `ValueError` for files that are no part of the data set: a cache that `map` left may hold the clean images."""
        if not self.only and (strange := self._unlisted()):
            raise ValueError(
                f"{self.root!r} holds {len(strange)} .arrow file(s) that are no part of the data set, such as "
                f"{strange[0]}: a cache of `datasets` may hold the images as they were, so remove what is not needed "
                "(Dataset.cleanup_cache_files), or name the shards that are"
            )
        return super()._list_shards()

    def _unlisted(self) -> list[str]:
        names = [name for name, _ in self.files()]
        states = {posixpath.dirname(name): self._listed(name) for name in names if posixpath.basename(name) == STATE}
        arrows = [name for name in names if name.lower().endswith(self.suffix)]
        return [
            name for name in arrows if posixpath.basename(name).startswith(CACHE) or name not in states.get(posixpath.dirname(name), {name})
        ]

    def _listed(self, state: str) -> set[str]:
        """The shards that a `state.json` names, as paths in the source."""
        try:
            files = json.loads(next(self.place.fetch(iter([state]))))["_data_files"]
            return {posixpath.normpath(posixpath.join(posixpath.dirname(state), file["filename"])) for file in files}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{state} does not list the files of a data set ({type(error).__name__}): save it again with save_to_disk"
            ) from error

    def class_names(self) -> list[str]:
        """From the features in the first file."""
        if (first := self.first_pack()) is None:
            return []
        with self.open_file(first.path) as (_, reader):
            return class_names(reader.schema)

    def replacement(self, file: File, extension: str) -> bytes | None:
        """`state.json` without the fingerprint of the rows as they were: a cache that goes by it would take the copy for the original."""
        if posixpath.basename(file.path) != STATE:
            return super().replacement(file, extension)
        self._listed(file.path)
        state = json.loads(next(self.place.fetch(iter([file.path]))))
        return json.dumps({**state, "_fingerprint": None}, indent=2, sort_keys=True).encode()

    def unchanged(self) -> list[str]:
        if (first := self.first_pack()) is None:
            return []
        with self.open_file(first.path) as (whole, reader):
            return sorted({*reader.schema.names} - {_column(whole, path=first.path).name, "label"})

    def pack_rows(self, shard: Shard) -> pa.Table:
        with self.open_file(shard.path) as (whole, reader):
            column = _column(whole, path=shard.path)
            labelled, tables, count = has_labels(reader.schema), [ROW_SCHEMA.empty_table()], 0
            for batch in _batches(reader, path=shard.path):
                offsets, sizes = _offsets_and_sizes(column.binary(batch), column.has_image(batch), whole=whole, path=shard.path)
                labels = batch.column("label").cast(pa.int64()) if labelled else pa.nulls(len(batch), pa.int64())
                keys = [key(shard.path, i) for i in range(count, count + len(batch))]
                tables.append(pa.table([keys, labels, offsets, sizes], schema=ROW_SCHEMA))
                count += len(batch)
        return pa.concat_tables(tables).combine_chunks()

    def pack_copy(self, shard: Shard, *, target: Target, extension: str, change: Change) -> Iterator[Written]:
        with self.open_file(shard.path) as (whole, reader), target.staged(goal := safe(shard.path)) as part:
            column, written, schema = _column(whole, path=shard.path), 0, anonymous(reader.schema)
            pieces = ((0, batch.slice(i, BATCH)) for batch in _batches(reader, path=shard.path) for i in range(0, len(batch), BATCH))
            with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                for _, keys, batch in rewrite_batches(pieces, column, path=shard.path, extension=extension, change=change):
                    if keys:
                        writer.write_batch(batch.replace_schema_metadata(schema.metadata))
                    for position, (row, data) in enumerate(zip(keys, column.cells(batch), strict=True), written):
                        yield Written.of(row, name=key(goal, position), data=data)
                    written += len(keys)


def _batches(reader: pa.RecordBatchReader, *, path: str) -> Iterator[pa.RecordBatch]:
    """The batches, none of which points out of its own buffers: a file from a stranger may say anything."""
    try:
        for batch in reader:
            batch.validate(full=True)
            yield batch
    except (pa.ArrowException, OSError, EOFError) as error:
        raise ValueError(f"{path} is not an Arrow stream, or is damaged: {error}") from error


def _column(whole: pa.Buffer, *, path: str) -> Column:
    """The one column of images, by what its first few rows hold where its type does not say."""

    def first(column: Column) -> list[bytes]:
        batch = next(_batches(pa.ipc.open_stream(whole), path=path), None)
        return column.cells(batch.slice(0, 16)) if batch is not None else []

    return image_column(pa.ipc.open_stream(whole).schema, path=path, first=first)


def _offsets_and_sizes(array: pa.Array, used: list[bool], *, whole: pa.Buffer, path: str) -> tuple[pa.Array, pa.Array]:
    """(where the bytes of each cell begin in the file, how many they are), both int64; those that are not `used` are empty."""
    _, edges, data = array.buffers()
    if not len(array) or edges is None or data is None:
        return pa.array([0] * len(array), pa.int64()), pa.array([0] * len(array), pa.int64())
    if not whole.address <= data.address <= data.address + data.size <= whole.address + whole.size:
        raise ValueError(f"{path} is compressed, which save_to_disk never writes: load it, and save it with save_to_disk or as Parquet")
    kind = np.int64 if pa.types.is_large_binary(array.type) else np.int32
    places = np.frombuffer(edges, kind)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    sizes = np.where(np.asarray(used), np.diff(places), 0)
    return pa.array(places[:-1] + data.address - whole.address), pa.array(sizes)
