"""Read: the bytes of one chunk at a time, still compressed, in tasks that import neither torch nor a surrogate."""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ray_ue.sources import Shard, Source
from ray_ue.stages.protect.index import Chunk, rows_of
from ray_ue.storage.artifacts import Folder


def pack_chunks(chunks: list[Chunk], source: Source) -> list[dict]:
    """An item of a stream for each chunk: the chunk and the shard that it lies in."""
    shards = source.shards()
    return [{"chunk": pickle.dumps(chunk), "shard": pickle.dumps(shards[chunk.shard])} for chunk in chunks]


def read_rows(source: Source, shard: Shard, rows: pa.Table, wanted: Sequence[int]) -> Iterator[bytes]:
    """The bytes of some rows of a shard in the order asked for, by contiguous runs: few rows of a large shard read little of it."""
    edges = [0, *(np.flatnonzero(np.diff(wanted) != 1) + 1).tolist(), len(wanted)]
    for begin, end in pairwise(edges):
        if end > begin:
            yield from source.read(shard, rows.slice(wanted[begin], end - begin))


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads the bytes of one chunk, still compressed; runs as a task of its own so that disks and networks never hold up an encoder."""

    source: Source
    index: Folder

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for item in batch.to_pylist():
            chunk: Chunk = pickle.loads(item["chunk"])  # noqa: S301 - made by the driver of this run
            shard: Shard = pickle.loads(item["shard"])  # noqa: S301
            rows = rows_of(self.index, chunk.shard).slice(chunk.start, chunk.rows)
            data = pa.array([list(self.source.read(shard, rows))], pa.large_list(pa.large_binary()))
            keys = pa.array([rows["key"].to_pylist()], pa.list_(pa.string()))
            labels = pa.array([rows["label"].to_pylist()], pa.list_(pa.int64()))
            yield pa.table({"number": [chunk.number], "first_id": [chunk.first_id], "key": keys, "label": labels, "data": data})
