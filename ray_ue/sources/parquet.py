"""Parquet files with one image a row."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, final

import pyarrow as pa
import pyarrow.parquet as pq

from ray_ue.sources.base import ROW_SCHEMA, Change, Shard, Written
from ray_ue.sources.batches import BATCH, Rewritten, key, rewrite_batches
from ray_ue.sources.columns import Column, image_column
from ray_ue.sources.features import class_names, has_labels
from ray_ue.sources.naming import safe
from ray_ue.sources.packed import Packed
from ray_ue.sources.storage import is_local
from ray_ue.sources.target import Target
from ray_ue.storage.inflation import refuse_inflation

MOST_BYTES = 256 * 2**20  # a row group of the copy is written when it has grown to this, independent of the original's size


@final
@dataclass(frozen=True, kw_only=True)
class ParquetFiles(Packed):
    """Keys are `file.parquet/position`; the label is the integer column `label`."""

    format: ClassVar[str] = "parquet"
    identity: ClassVar[str] = "ParquetFiles"
    suffix: ClassVar[str] = ".parquet"

    @contextmanager
    def open_file(self, path: str) -> Iterator[pq.ParquetFile]:
        """A file read as a stream, so that a row group larger than memory is no problem."""
        with self.place.open(path) as raw:
            try:
                file = pq.ParquetFile(raw, buffer_size=2**20 if is_local(self.root) else 2**23)
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{path} is not a Parquet file, or is damaged: {error}") from error
            _refuse_bomb(file, path=path)
            yield file

    def class_names(self) -> list[str]:
        """From the Hugging Face features in the first file."""
        if (first := self.first_pack()) is None:
            return []
        with self.open_file(first.path) as file:
            return class_names(file.schema_arrow)

    def unchanged(self) -> list[str]:
        if (first := self.first_pack()) is None:
            return []
        with self.open_file(first.path) as file:
            return sorted({*file.schema_arrow.names} - {_column(file, path=first.path).name, "label"})

    def pack_rows(self, shard: Shard) -> pa.Table:
        """`size` is the mean over the row group: the true ones would mean reading all images."""
        with self.open_file(shard.path) as file:
            leaf = _column(file, path=shard.path).leaf
            count = file.metadata.num_rows
            sizes = [size for group in range(file.num_row_groups) for size in _sizes(file, group, leaf=leaf)]
            labels = _labels(file)
        keys = [key(shard.path, i) for i in range(count)]
        return pa.table([keys, labels, pa.array(range(count), pa.int64()), pa.array(sizes, pa.int64())], schema=ROW_SCHEMA)

    def pack_read(self, shard: Shard, rows: pa.Table) -> Iterator[bytes]:
        """Row groups without a wanted row are not read. Offsets must ascend."""
        offsets = rows["offset"].to_pylist()
        wanted = set(offsets)
        assert offsets == sorted(wanted), "rows of a Parquet file are read in ascending order"
        with self.open_file(shard.path) as file:
            column = _column(file, path=shard.path)
            start = 0
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                last = max((i for i in offsets if start <= i < end), default=-1)
                position = start
                if last >= 0:
                    for batch in file.iter_batches(batch_size=BATCH, row_groups=[group], columns=[column.leaf]):
                        if any(i in wanted for i in range(position, position + len(batch))):
                            yield from (cell for i, cell in enumerate(column.cells(batch), position) if i in wanted)
                        position += len(batch)
                        if position > last:
                            break
                start = end

    def pack_copy(self, shard: Shard, *, target: Target, extension: str, change: Change) -> Iterator[Written]:
        with self.open_file(shard.path) as file, target.staged(goal := safe(shard.path)) as part:
            column = _column(file, path=shard.path)
            with pq.ParquetWriter(part, file.schema_arrow, **_encoding(file, column)) as writer:
                written = 0
                for keys, table in _groups(rewrite_batches(_batches(file), column, path=shard.path, extension=extension, change=change)):
                    writer.write_table(table, row_group_size=len(table))
                    images = (data for batch in table.to_batches() for data in column.cells(batch))
                    for position, (row, data) in enumerate(zip(keys, images, strict=True), written):
                        yield Written.of(row, name=key(goal, position), data=data)
                    written += len(table)


def _refuse_bomb(file: pq.ParquetFile, *, path: str) -> None:
    for group in range(file.num_row_groups):
        about = file.metadata.row_group(group)
        for chunk in (about.column(i) for i in range(about.num_columns)):
            refuse_inflation(
                f"{path}: the column {chunk.path_in_schema}", stored=chunk.total_compressed_size, size=chunk.total_uncompressed_size
            )


def _column(file: pq.ParquetFile, *, path: str) -> Column:
    """The one column of images, by what its first few rows hold where its type does not say."""

    def first(column: Column) -> list[bytes]:
        batch = next(file.iter_batches(batch_size=16, columns=[column.leaf]), None)
        return column.cells(batch) if batch is not None else []

    return image_column(file.schema_arrow, path=path, first=first)


def _sizes(file: pq.ParquetFile, group: int, *, leaf: str) -> list[int]:
    about = file.metadata.row_group(group)
    chunks = (about.column(i) for i in range(about.num_columns))
    total = next(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == leaf)
    return [total // about.num_rows] * about.num_rows if about.num_rows else []


def _labels(file: pq.ParquetFile) -> pa.Array:
    if not has_labels(file.schema_arrow):
        return pa.nulls(file.metadata.num_rows, pa.int64())
    return file.read(columns=["label"])["label"].cast(pa.int64()).combine_chunks()


def _encoding(file: pq.ParquetFile, column: Column) -> dict:
    """Other columns keep their compression; images have been compressed by their own format."""
    leaves = [file.schema.column(i).path for i in range(len(file.schema))]
    codec = dict.fromkeys(leaves, "SNAPPY")
    if file.num_row_groups:
        about = file.metadata.row_group(0)
        codec = {leaf: about.column(i).compression for i, leaf in enumerate(leaves)}
    codec = {leaf: "NONE" if leaf == column.leaf or name == "UNCOMPRESSED" else name for leaf, name in codec.items()}
    others = [leaf for leaf in leaves if leaf != column.leaf]
    return {"compression": codec, "use_dictionary": others, "write_statistics": others}


def _batches(file: pq.ParquetFile) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The file batch by batch, each with the number of its row group."""
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(batch_size=BATCH, row_groups=[group]):
            yield group, batch


def _groups(rewritten: Iterator[Rewritten]) -> Iterator[tuple[list[str], pa.Table]]:
    """The row groups of the copy with their keys: the original's, but split when grown over `MOST_BYTES`, gone when empty."""
    current, keys, batches = 0, list[str](), list[pa.RecordBatch]()
    for group, names, batch in rewritten:
        if batches and (group != current or sum(b.nbytes for b in batches) > MOST_BYTES):
            yield keys, pa.Table.from_batches(batches)
            keys, batches = [], []
        current = group
        if names:
            keys += names
            batches.append(batch)
    if batches:
        yield keys, pa.Table.from_batches(batches)
