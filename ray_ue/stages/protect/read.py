"""Read: the bytes of one chunk at a time, still compressed, in tasks that import neither torch nor a surrogate."""

import pickle
from collections.abc import Iterator

import pyarrow as pa

from ray_ue.sources import Shard, Source
from ray_ue.stages.protect.index import Chunk, rows_of
from ray_ue.storage.artifacts import Folder


def with_shards(wanted: list[Chunk], source: Source) -> Iterator[tuple[Chunk, Shard]]:
    shards = source.shards()
    return ((chunk, shards[chunk.shard]) for chunk in wanted)


class Reader:
    """Reads the bytes of one chunk, still compressed; runs as a task of its own so that disks and networks never hold up an encoder."""

    def __init__(self, source: Source, index: Folder) -> None:
        self.source = source
        self.index = index

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for item in batch.to_pylist():
            chunk: Chunk = pickle.loads(item["chunk"])  # noqa: S301 - made by the driver of this run
            shard: Shard = pickle.loads(item["shard"])  # noqa: S301
            rows = rows_of(self.index, chunk.shard).slice(chunk.start, chunk.rows)
            data = pa.array([list(self.source.read(shard, rows))], pa.large_list(pa.large_binary()))
            keys = pa.array([rows["key"].to_pylist()], pa.list_(pa.string()))
            labels = pa.array([rows["label"].to_pylist()], pa.list_(pa.int64()))
            yield pa.table({"number": [chunk.number], "first_id": [chunk.first_id], "key": keys, "label": labels, "data": data})
