"""Index: list the source once and give every image a dense id; image bytes are never copied."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run, stage
from ray_ue.progress import Progress
from ray_ue.sources import Shard, Source
from ray_ue.sources.listing import TABLE
from ray_ue.storage.artifacts import Artifact, Folder

VERSION = 1
CHUNK_ROWS = 1024  # at most; one vectors file, one unit of lost work
CHUNK_BYTES = 32 * 2**20  # so that a chunk of large photographs still fits a small object store


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A run of rows of one shard that is read, embedded and written as one: rows `start` to `stop` of the shard."""

    number: int
    shard: int
    start: int
    stop: int
    first_id: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


def index(run: Run) -> Artifact:
    """The index artifact: `rows/shard-*.parquet` (key, label, offset, size in position order), `shards.parquet`, `listing.parquet`."""
    fields = {"listing": run.source.digest(), "format": run.source.identity}
    fields |= {"generation": run.source.generation} if run.source.generation else {}
    fields |= {"unread": list(run.source.unread)} if run.source.unread else {}
    return stage(run, "index", version=VERSION, fields=fields, inputs={}, build=lambda folder: build(run, folder))


def listed_source(run: Run, index: Artifact) -> Source:
    """The run's source as the index has listed it: nothing lists it again, in this process or in others."""
    if not index.folder.exists(TABLE):  # an index that an older version made
        run.source.save_listing(index.folder)
    return replace(run.source, listing=index.folder)


def build(run: Run, folder: Folder) -> dict:
    source, shards = run.source, run.source.shards()
    source.save_listing(folder)
    listed = set(folder.names("rows"))
    waiting = [shard for shard in shards if name_of(shard.number) not in listed]
    progress = Progress(stage="index", total=len(shards), unit="shards")
    progress.skip(len(shards) - len(waiting))
    items = [{"shard": pickle.dumps(shard)} for shard in waiting]
    for done in stream(items, work=list_shards, arguments={"source": source, "folder": folder}, cpus=1, tasks=run.machines.slots()):
        progress.add(1, note=f"{done['rows']:,} rows in the last")
    progress.close()
    table = summarise(folder, shards)
    folder.write_table("shards.parquet", table)
    rows = int(np.sum(table["rows"].to_numpy())) if len(table) else 0
    if rows == 0:
        raise ValueError(f"no images in {source.address}; name a folder, Parquet files or tar shards that hold some")
    return {"rows": rows, "shards": len(shards), "bytes": int(np.sum(table["bytes"].to_numpy())), "classes": source.class_names()}


def name_of(shard: int) -> str:
    return f"shard-{shard:06d}.parquet"


def list_shards(batch: pa.Table, *, source: Source, folder: Folder) -> Iterator[pa.Table]:
    """Write the row table of each shard in `batch`."""
    for packed in batch["shard"].to_pylist():
        shard: Shard = pickle.loads(packed)  # noqa: S301 - made by this process a moment ago
        rows = source.rows(shard)
        folder.write_table(f"rows/{name_of(shard.number)}", rows)
        yield pa.table({"shard": [shard.number], "rows": [len(rows)]})


def cuts(sizes: np.ndarray) -> list[int]:
    """Where the chunks of one shard begin, and its end: at most CHUNK_ROWS rows and, beyond one row, CHUNK_BYTES bytes each."""
    edges, held = [0], 0
    for row, size in enumerate(sizes.tolist()):
        if row > edges[-1] and (row - edges[-1] >= CHUNK_ROWS or held + size > CHUNK_BYTES):
            edges.append(row)
            held = 0
        held += size
    return [*edges, len(sizes)] if len(sizes) else []


def summarise(folder: Folder, shards: list[Shard]) -> pa.Table:
    """One line per shard: rows, bytes, the id of its first row, chunk edges."""
    lines, first = [], 0
    for shard in shards:
        sizes = folder.read_table(f"rows/{name_of(shard.number)}", columns=("size",))["size"].to_numpy()
        lines.append({"shard": shard.number, "first_id": first, "rows": len(sizes), "bytes": int(sizes.sum()), "cuts": cuts(sizes)})
        first += len(sizes)
    schema = [("shard", pa.int64()), ("first_id", pa.int64()), ("rows", pa.int64()), ("bytes", pa.int64()), ("cuts", pa.list_(pa.int64()))]
    return pa.Table.from_pylist(lines, schema=pa.schema(schema))


def chunks(index: Artifact) -> list[Chunk]:
    """Every chunk of the source in id order."""
    spans = [(line, start, stop) for line in shard_lines(index) for start, stop in pairwise(line["cuts"])]
    return [
        Chunk(number=number, shard=line["shard"], start=start, stop=stop, first_id=line["first_id"] + start)
        for number, (line, start, stop) in enumerate(spans)
    ]


def rows_of(index: Folder, shard: int) -> pa.Table:
    """The row table of one shard: key, label, offset, size."""
    return index.read_table(f"rows/{name_of(shard)}")


def labels_of(index: Artifact) -> np.ndarray:
    """int64 `N`: the label of every row, -1 where there is none."""
    labels = [rows_of(index.folder, line["shard"])["label"].fill_null(-1).to_numpy() for line in shard_lines(index) if line["rows"]]
    return np.concatenate(labels).astype(np.int64)


def shard_lines(index: Artifact) -> list[dict]:
    return index.folder.read_table("shards.parquet").to_pylist()
