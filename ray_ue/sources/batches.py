"""Batches of rows on their way through a rewrite, and the keys of their rows."""

from collections import deque
from collections.abc import Iterable, Iterator

import pyarrow as pa

from ray_ue.sources.base import Change, Item, match_replies
from ray_ue.sources.columns import Column
from ray_ue.sources.naming import safe

BATCH = 64  # rows whose images are held as bytes at once
MOST_BYTES = 64 * 2**20  # of their originals, unless one alone has more: a column of Arrow's `binary` ends at 2 GiB, and PNG is larger

Rewritten = tuple[int, list[str], pa.RecordBatch]  # which run of the original it belongs to, keys, the batch with its new images


def key(path: str, position: int) -> str:
    """The name of a row: its file, and its place there."""
    return f"{safe(path)}/{position:08d}"


def portions(batch: pa.RecordBatch, column: Column) -> Iterator[pa.RecordBatch]:
    """The batch in parts of at most `MOST_BYTES` of images, and of one row at least; none of an empty one."""
    sizes = map(len, column.cells(batch))
    begin = held = 0
    for row, size in enumerate(sizes):
        if held and held + size > MOST_BYTES:
            yield batch.slice(begin, row - begin)
            begin, held = row, 0
        held += size
    if begin < len(batch):
        yield batch.slice(begin)


def rewrite_batches(
    batches: Iterable[tuple[int, pa.RecordBatch]], column: Column, *, path: str, extension: str, change: Change
) -> Iterator[Rewritten]:
    """Each batch through `change`, less the rows it leaves out; the number before a batch is handed on."""
    waiting: deque[tuple[int, pa.RecordBatch]] = deque()

    def items() -> Iterator[Item]:
        position = 0
        for run, batch in ((run, part) for run, whole in batches for part in portions(whole, column)):
            waiting.append((run, batch))
            for i, data in enumerate(column.cells(batch), position):
                yield Item(key=key(path, i), data=data)
            position += len(batch)

    replied: list[tuple[str, bytes | None]] = []
    for pair in match_replies(items(), change):
        replied.append(pair)
        if len(replied) == len(waiting[0][1]):
            run, batch = waiting.popleft()
            kept = [key for key, reply in replied if reply is not None]
            yield run, kept, column.replace_images(batch, [reply for _, reply in replied], extension=extension)
            replied = []
