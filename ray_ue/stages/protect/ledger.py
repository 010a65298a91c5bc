"""The ledger of an export, and ordered work over threads: what writing and checking share. It imports no torch."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import numpy as np
import pyarrow as pa

from ray_ue.images.codec import Picture
from ray_ue.storage.artifacts import Folder

A = TypeVar("A")
B = TypeVar("B")

LEDGER = pa.schema(
    [
        ("id", pa.int64()),
        ("key", pa.string()),
        ("name", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("slot", pa.int32()),
        ("most", pa.int32()),
        ("psnr", pa.float64()),
        ("ssim", pa.float64()),
        ("pixels", pa.string()),
        ("notes", pa.list_(pa.string())),  # what the file said besides its pixels, and what became of it
        ("reason", pa.string()),
    ]
)


def ledger_name(shard: int) -> str:
    return f"shard-{shard:06d}.parquet"


def live(lines: pa.Table, *, replaced: Set[str]) -> pa.Table:
    """The ledger's lines of images that are in the copy as this generation wrote them."""
    good = lines.filter(lines["reason"].is_null())
    return good.filter(pa.array([key not in replaced for key in good["key"].to_pylist()], pa.bool_())) if replaced else good


def largest_of(exported: Folder) -> int:
    """The pixels of the largest picture that an export has written."""
    areas = [0]
    for name in exported.names("ledger"):
        table = exported.read_table(f"ledger/{name}", columns=("height", "width"))
        areas.append(
            int((table["height"].fill_null(0).to_numpy().astype(np.int64) * table["width"].fill_null(0).to_numpy()).max(initial=0))
        )
    return max(areas)


def digest_of(picture: Picture) -> str:
    """A checksum of what a reader sees, whatever the file says besides: colours, and how opaque they are."""
    total = hashlib.sha256(f"{picture.rgb.shape}".encode())
    further = picture.motion.frames if picture.motion else ()
    for channels in (picture.rgb, picture.alpha, *chain.from_iterable(further)):
        if channels is not None:
            total.update(np.ascontiguousarray(channels).data)
    return total.hexdigest()


def in_order(pool: ThreadPoolExecutor, work: Callable[[A], B], tasks: Iterable[A], *, ahead: int) -> Iterator[B]:
    """`map` over threads that reads at most `ahead` tasks in advance, so that a shard never lies in memory."""
    running: deque[Future[B]] = deque()
    for task in tasks:
        running.append(pool.submit(work, task))
        if len(running) >= ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()
