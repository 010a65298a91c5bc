"""Sample: the views that crafting and self-supervised training loop over, read once into one memory-mapped uint8 array."""

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy

from ray_ue.artifacts import Artifact, Folder
from ray_ue.images import Limits, Rejected, look
from ray_ue.progress import Progress
from ray_ue.sampling import draw_sample
from ray_ue.sources import Shard, Source, open_source
from ray_ue.stages.base import Run, stage
from ray_ue.stages.index import Chunk, chunks, rows_of
from ray_ue.stages.session import stream
from ray_ue.types import PixelBlock

VERSION = 1


def sample(run: Run, *, index: Artifact) -> Artifact:
    """The sample artifact: `pixels.npy` uint8 [n, canvas, canvas, 3] and `ids.npy`, a random sample of the readable rows in id order."""
    canvas, _ = run.recipe.geometry()
    fields = run.recipe.values(("craft_sample", "seed", "max_pixels")) | {"canvas": canvas}
    return stage(
        run, "sample", version=VERSION, fields=fields, inputs={"index": index}, build=lambda folder: build(run, index, canvas, folder)
    )


def build(run: Run, index: Artifact, canvas: int, folder: Folder) -> dict:
    wanted = draw_sample(index.facts["rows"], size=run.recipe.craft_sample, seed=run.recipe.seed)
    need = len(wanted) * canvas**2 * 3
    if 2 * need > folder.free_bytes():
        raise ValueError(
            f"the sample of {len(wanted):,} views needs {2 * need / 2**30:.1f} GiB in {folder.uri}, "
            f"{folder.free_bytes() / 2**30:.1f} GiB are free; lower --craft-sample or free some room"
        )
    source = open_source(run.source, format=run.recipe.format)
    shards, done = source.shards(), set(folder.names("parts"))
    every = [(chunk, wanted[(wanted >= chunk.first_id) & (wanted < chunk.first_id + chunk.rows)]) for chunk in chunks(index)]
    picked = [(chunk, ids) for chunk, ids in every if len(ids)]
    waiting = [(chunk, ids) for chunk, ids in picked if part_name(chunk.number) not in done]
    progress = Progress(stage="sample", total=len(wanted))
    progress.skip(len(wanted) - sum(len(ids) for _, ids in waiting))
    tasks = run.machines.slots()
    threads = run.machines.threads(run.resources, tasks=min(len(waiting), run.machines.cores))
    arguments = {
        "source": source,
        "index": index.folder,
        "folder": folder,
        "canvas": canvas,
        "limits": run.recipe.limits(),
        "threads": threads,
    }
    items = [{"chunk": pickle.dumps(c), "shard": pickle.dumps(shards[c.shard]), "ids": ids.tolist()} for c, ids in waiting]
    for result in stream(items, work=read_views, arguments=arguments, cpus=1, tasks=tasks):
        progress.add(result["rows"], rejected=result["rejected"])
    progress.close()
    rows = consolidate(folder, canvas)
    if rows < 2:
        raise ValueError(f"only {rows} of {len(wanted)} sampled images could be read; there is nothing to craft on")
    return {"rows": rows, "canvas": canvas, "of": index.facts["rows"]}


def part_name(chunk: int) -> str:
    return f"part-{chunk:08d}.npz"


def read_views(
    batch: pa.Table, *, source: Source, index: Folder, folder: Folder, canvas: int, limits: Limits, threads: int
) -> Iterator[pa.Table]:
    """Write the views of the wanted rows of each chunk in `batch`; unreadable rows are left out (embedding lists them)."""
    for item in batch.to_pylist():
        chunk: Chunk = pickle.loads(item["chunk"])  # noqa: S301 - made by the driver of this run
        shard: Shard = pickle.loads(item["shard"])  # noqa: S301
        ids = np.asarray(item["ids"], np.int64)
        with ThreadPoolExecutor(threads) as pool:
            seen = list(pool.map(lambda blob: view(blob, canvas, limits), read_some(source, shard, index, chunk, ids)))
        good = [row for row, pixels in enumerate(seen) if pixels is not None]
        kept = [pixels for pixels in seen if pixels is not None]
        pixels = np.stack(kept) if kept else np.zeros((0, canvas, canvas, 3), np.uint8)
        with folder.writing(f"parts/{part_name(chunk.number)}") as file:
            np.savez(file, ids=ids[good], pixels=pixels)
        yield pa.table({"rows": [len(ids)], "rejected": [len(ids) - len(good)]})


def view(blob: bytes, canvas: int, limits: Limits) -> np.ndarray | None:
    try:
        return look(blob, size=canvas, limits=limits)
    except Rejected:
        return None


def read_some(source: Source, shard: Shard, index: Folder, chunk: Chunk, ids: np.ndarray) -> Iterator[bytes]:
    """Bytes of the rows `ids` of a chunk, by contiguous runs, so that a thin sample of a large shard reads little of it."""
    rows = rows_of(index, chunk.shard)
    places = ids - chunk.first_id + chunk.start
    edges = [0, *(np.flatnonzero(np.diff(places) > 1) + 1).tolist(), len(places)]
    for begin, end in pairwise(edges):
        yield from source.read(shard, rows.slice(int(places[begin]), end - begin))


def consolidate(folder: Folder, canvas: int) -> int:
    """Join the parts into one array in id order, holding one part at a time."""
    names = folder.names("parts")
    ids = [load_part(folder, name)["ids"] for name in names]
    total = sum(map(len, ids))
    with folder.writing("pixels.npy") as file:
        npy.write_array_header_2_0(file, {"descr": "|u1", "fortran_order": False, "shape": (total, canvas, canvas, 3)})
        for name in names:
            file.write(load_part(folder, name)["pixels"].tobytes())
    with folder.writing("ids.npy") as file:
        np.save(file, np.concatenate(ids) if ids else np.zeros(0, np.int64))
    folder.remove("parts")
    return total


def load_part(folder: Folder, name: str) -> dict[str, np.ndarray]:
    with folder.reading(f"parts/{name}") as file, np.load(file, allow_pickle=False) as found:
        return {key: found[key] for key in found.files}


def open_sample(folder: Folder) -> tuple[PixelBlock, np.ndarray]:
    """(pixels `n H W 3` uint8, memory-mapped; ids `n`)."""
    pixels = np.load(folder.fetch("pixels.npy"), mmap_mode="r", allow_pickle=False)
    return pixels, np.load(folder.fetch("ids.npy"), allow_pickle=False)
