"""Batches of rows on their way through a rewrite, and the keys of their rows."""

from collections import deque
from collections.abc import Iterable, Iterator

import pyarrow as pa

from ray_ue.sources.base import Change, Item, match_replies
from ray_ue.sources.columns import Column
from ray_ue.sources.naming import safe

BATCH = 64  # rows whose images are held as bytes at once

Rewritten = tuple[int, list[str], pa.RecordBatch]  # which run of the original it belongs to, keys, the batch with its new images


def key(path: str, position: int) -> str:
    """The name of a row: its file, and its place there."""
    return f"{safe(path)}/{position:08d}"


def rewrite_batches(
    batches: Iterable[tuple[int, pa.RecordBatch]], column: Column, *, path: str, extension: str, change: Change
) -> Iterator[Rewritten]:
    """Each batch through `change`, less the rows it leaves out; the number before a batch is handed on."""
    waiting: deque[tuple[int, pa.RecordBatch]] = deque()

    def items() -> Iterator[Item]:
        position = 0
        for run, batch in batches:
            if not len(batch):
                continue
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
