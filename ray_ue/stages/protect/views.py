"""Views: chosen rows of a source as one memory-mapped uint8 array at one size, read in one streaming pass; what happens to a row between
its bytes and the array is a value that the caller gives."""

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Int64
from numpy.lib import format as npy

from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run
from ray_ue.grouping.sampling import between
from ray_ue.images.codec import Limits, Rejected, decode, square_view
from ray_ue.images.memory import READING
from ray_ue.progress import Progress, format_bytes
from ray_ue.sources import Shard, Source
from ray_ue.stages.protect.index import Chunk, chunks, listed_source, rows_of
from ray_ue.stages.protect.memory import largest_picture, share_out
from ray_ue.stages.protect.read import pack_chunks, read_rows
from ray_ue.stages.protect.rejected import write_rejected
from ray_ue.storage.artifacts import Artifact, Folder
from ray_ue.types import PixelBlock


@runtime_checkable
class ViewFunction(Protocol):
    """From the bytes of row `number`, with its label (-1: none), to its view `canvas canvas 3`; raises `Rejected`."""

    def __call__(self, data: bytes, number: int, label: int) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class PlainView:
    """The row as it is, decoded as the export decodes it."""

    canvas: int
    limits: Limits

    def __call__(self, data: bytes, number: int, label: int) -> np.ndarray:
        return square_view(decode(data, limits=self.limits).rgb, size=self.canvas)


def read_views(
    run: Run, index: Artifact, wanted: Int64[np.ndarray, " n"], *, view: ViewFunction, canvas: int, name: str, folder: Folder
) -> int:
    """Write `pixels.npy` uint8 [m, canvas, canvas, 3] and `ids.npy` of the readable ones among the `wanted` ids; returns m.

    The others are in `rejected/`, with their reasons.
    """
    need = len(wanted) * canvas**2 * 3
    if 2 * need > folder.free_bytes():
        raise ValueError(
            f"{len(wanted):,} views need {format_bytes(2 * need)} in {folder.uri}, {format_bytes(folder.free_bytes())} are free; "
            "ask for fewer rows or free some room"
        )
    source, done = listed_source(run, index), set(folder.names("parts"))
    chosen = [(chunk, between(wanted, chunk.first_id, chunk.first_id + chunk.rows)) for chunk in chunks(index)]
    picked = [(chunk, ids) for chunk, ids in chosen if len(ids)]
    waiting = [(chunk, ids) for chunk, ids in picked if part_name(chunk.number) not in done]
    progress = Progress(stage=name, total=len(wanted))
    progress.skip(len(wanted) - sum(len(ids) for _, ids in waiting))
    limits = run.recipe.limits()
    largest = partial(largest_picture, source, index, limits=limits)
    tasks, threads = share_out(run.machines, run.resources, tasks=len(waiting), per_pixel=READING, limits=limits, largest=largest)
    arguments = {"source": source, "index": index.folder, "folder": folder, "canvas": canvas, "view": view, "threads": threads}
    items = [item | {"ids": ids.tolist()} for item, (_, ids) in zip(pack_chunks([chunk for chunk, _ in waiting], source), waiting)]
    for result in stream(items, work=write_views, arguments=arguments, cpus=1, tasks=tasks):
        progress.add(result["rows"], rejected=result["rejected"])
    progress.close()
    return consolidate(folder, canvas)


def view_or_none(view: ViewFunction, data: bytes, number: int, label: int) -> np.ndarray | None:
    made = view_or_reason(view, data, number, label)
    return None if isinstance(made, str) else made


def view_or_reason(view: ViewFunction, data: bytes, number: int, label: int) -> np.ndarray | str:
    """The view of a row, or why there is none."""
    try:
        return view(data, number, label)
    except Rejected as reason:
        return str(reason)


def part_name(chunk: int) -> str:
    return f"part-{chunk:08d}.npz"


def write_views(
    batch: pa.Table, *, source: Source, index: Folder, folder: Folder, canvas: int, view: ViewFunction, threads: int
) -> Iterator[pa.Table]:
    """Write the views of the wanted rows of each chunk in `batch`; unreadable rows are left out."""
    for item in batch.to_pylist():
        chunk: Chunk = pickle.loads(item["chunk"])  # noqa: S301 - made by the driver of this run
        shard: Shard = pickle.loads(item["shard"])  # noqa: S301
        ids = np.asarray(item["ids"], np.int64)
        with ThreadPoolExecutor(threads) as pool:
            views = list(pool.map(lambda row: view_or_reason(view, *row), read_some(source, shard, index, chunk, ids)))
        good = [row for row, pixels in enumerate(views) if not isinstance(pixels, str)]
        kept = [pixels for pixels in views if not isinstance(pixels, str)]
        if reasons := {row: reason for row, reason in enumerate(views) if isinstance(reason, str)}:
            bad = ids[list(reasons)]
            keys = rows_of(index, chunk.shard)["key"].take(bad - chunk.first_id + chunk.start)
            write_rejected(folder, f"chunk-{chunk.number:08d}", ids=bad, keys=keys, reasons=list(reasons.values()))
        pixels = np.stack(kept) if kept else np.zeros((0, canvas, canvas, 3), np.uint8)
        with folder.writing(f"parts/{part_name(chunk.number)}") as file:
            np.savez(file, ids=ids[good], pixels=pixels)
        yield pa.table({"rows": [len(ids)], "rejected": [len(ids) - len(good)]})


def read_some(source: Source, shard: Shard, index: Folder, chunk: Chunk, ids: np.ndarray) -> Iterator[tuple[bytes, int, int]]:
    """(bytes, id, label) of the rows `ids` of a chunk."""
    rows = rows_of(index, chunk.shard)
    places = (ids - chunk.first_id + chunk.start).tolist()
    labels = rows["label"].fill_null(-1).to_numpy()[places]
    yield from zip(read_rows(source, shard, rows, places), ids.tolist(), labels.tolist())


def read_few(source: Source, index: Artifact, ids: Int64[np.ndarray, " n"]) -> Iterator[bytes]:
    """The bytes of a few rows, here and now; `ids` ascend."""
    shards = source.shards()
    for chunk in chunks(index):
        if len(wanted := between(ids, chunk.first_id, chunk.first_id + chunk.rows)):
            yield from (data for data, _, _ in read_some(source, shards[chunk.shard], index.folder, chunk, wanted))


def consolidate(folder: Folder, canvas: int) -> int:
    """Join the parts into one array in id order, holding one part at a time."""
    names = folder.names("parts")
    ids = [read_arrays(folder, f"parts/{name}")["ids"] for name in names]
    total = sum(map(len, ids))
    with folder.writing("pixels.npy") as file:
        npy.write_array_header_2_0(file, {"descr": "|u1", "fortran_order": False, "shape": (total, canvas, canvas, 3)})
        for name in names:
            file.write(read_arrays(folder, f"parts/{name}")["pixels"].tobytes())
    with folder.writing("ids.npy") as file:
        np.save(file, np.concatenate(ids) if ids else np.zeros(0, np.int64))
    folder.remove("parts")
    return total


def read_arrays(folder: Folder, name: str) -> dict[str, np.ndarray]:
    """All arrays of the `.npz` file `name`."""
    with folder.reading(name) as file, np.load(file, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def open_views(folder: Folder) -> tuple[PixelBlock, np.ndarray]:
    """(pixels `n H W 3` uint8, memory-mapped; ids `n`)."""
    pixels = np.load(folder.fetch("pixels.npy"), mmap_mode="r", allow_pickle=False)
    return pixels, np.load(folder.fetch("ids.npy"), allow_pickle=False)
