"""Embed: one streaming pass over the source; every readable image gets its surrogate features, every other one a reason."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run, stage
from ray_ue.images.codec import Limits, Rejected, decode_square
from ray_ue.models.pretrained.specs import parse
from ray_ue.models.pretrained.surrogates import Surrogate, load
from ray_ue.progress import Progress, say
from ray_ue.stages.protect.index import chunks, listed_source
from ray_ue.stages.protect.read import Reader, with_shards
from ray_ue.storage.artifacts import Artifact, Folder

VERSION = 1
FIELDS = ("surrogate", "image_size", "max_pixels")
BATCH_CPU, BATCH_GPU = 64, 256


def embed(run: Run, *, index: Artifact, weights: dict[str, Artifact]) -> Artifact:
    """The vectors artifact: `vectors/chunk-*.parquet` (id, key, label, vector) in id order, and `rejected.parquet`.

    `weights` holds the trained surrogate when it is an ssl one, else nothing.
    """
    fields = run.recipe.values(FIELDS)
    embedded = stage(
        run,
        "embed",
        version=VERSION,
        fields=fields,
        inputs={"index": index, **weights},
        build=lambda folder: build(run, index, weights, folder),
    )
    refuse_too_many(embedded.facts["rejected"], index.facts["rows"], run.recipe.max_rejected, embedded.folder)
    return embedded


def build(run: Run, index: Artifact, weights: dict[str, Artifact], folder: Folder) -> dict:
    done = set(folder.names("vectors"))
    all_chunks = chunks(index)
    waiting = [chunk for chunk in all_chunks if part_name(chunk.number) not in done]
    progress = Progress(stage="embed", total=index.facts["rows"])
    progress.skip(sum(c.rows for c in all_chunks) - sum(c.rows for c in waiting), rejected=sum(counted(folder).values()))
    actors, share = run.machines.encoder(run.resources)
    threads = run.machines.threads(run.resources, tasks=max(1, actors // run.machines.nodes))
    if waiting:
        say(f"    embed  {actors} encoder(s) on {'the GPU' if share else 'the CPU'}, {threads} threads each")
    arguments = {
        "surrogate": run.recipe.surrogate,
        "weights": fetchable(weights),
        "limits": run.recipe.limits(),
        "image_size": run.recipe.image_size,
        "folder": folder,
        "threads": threads,
        "gpu": bool(share),
    }
    reader = Reader(listed_source(run, index), index.folder)
    items = [{"chunk": pickle.dumps(c), "shard": pickle.dumps(s)} for c, s in with_shards(waiting, reader.source)]
    cpus, actors = run.machines.beside_readers(actors), min(actors, len(items))
    for result in stream(items, read=reader, work=Embedder, arguments=arguments, cpus=cpus, gpus=share, actors=actors):
        progress.add(result["rows"], rejected=result["rejected"])
        if progress.rejected > run.recipe.max_rejected * progress.total:
            refuse_too_many(progress.rejected, progress.total, run.recipe.max_rejected, folder)
    progress.close()
    return gather_rejected(folder) | {"rows": index.facts["rows"], "device": "gpu" if share else "cpu"}


def fetchable(weights: dict[str, Artifact]) -> Folder | str:
    """Where a trained surrogate lies; the empty string for one that brings its own weights."""
    return next((artifact.folder for artifact in weights.values()), "")


def open_surrogate(text: str, *, weights: Folder | str, image_size: int, device: torch.device) -> Surrogate:
    """The frozen surrogate that `text` names, with the weights trained for this collection if it needs them."""
    trained = load_file(weights.fetch("weights.safetensors")) if isinstance(weights, Folder) else {}
    return load(parse(text), device=device, weights=trained, image_size=image_size)


class Embedder:
    """An actor that holds the surrogate: decodes in threads, embeds in batches, writes each chunk's vectors in one move."""

    def __init__(
        self,
        *,
        surrogate: str,
        weights: Folder | str,
        limits: Limits,
        image_size: int,
        folder: Folder,
        threads: int,
        gpu: bool,
    ) -> None:
        torch.set_num_threads(threads)  # Ray sets OMP_NUM_THREADS to the share of logical CPUs, which is not the cores
        self.device = torch.device("cuda" if gpu else "cpu")
        self.surrogate = open_surrogate(surrogate, weights=weights, image_size=image_size, device=self.device)
        self.limits = limits
        self.folder = folder
        self.pool = ThreadPoolExecutor(max(threads, 2), thread_name_prefix="decode")
        self.batch = BATCH_GPU if gpu else BATCH_CPU

    def __call__(self, chunk: pa.Table) -> pa.Table:
        number, first = chunk["number"][0].as_py(), chunk["first_id"][0].as_py()
        blobs = [blob.as_buffer() for blob in chunk["data"][0].values]
        kept: list[int] = []
        vectors: list[np.ndarray] = []
        rejected: list[tuple[int, str]] = []
        ready: list[np.ndarray] = []
        for row, view in enumerate(self.pool.map(self.view, blobs)):
            if isinstance(view, str):
                rejected.append((row, view))
                continue
            kept.append(row)
            ready.append(view)
            if len(ready) == self.batch:
                vectors.append(self.encode(ready))
                ready = []
        if ready:
            vectors.append(self.encode(ready))
        self.write(number, first, chunk, kept, vectors, rejected)
        return pa.table({"number": [number], "rows": [len(blobs)], "rejected": [len(rejected)]})

    def view(self, blob: pa.Buffer) -> np.ndarray | str:
        try:
            return decode_square(blob.to_pybytes(), size=self.surrogate.canvas, limits=self.limits)
        except Rejected as reason:
            return str(reason)

    def encode(self, views: list[np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(views)).to(self.device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
            return self.surrogate.features(pixels).float().cpu().numpy()

    def write(
        self, number: int, first: int, chunk: pa.Table, kept: list[int], vectors: list[np.ndarray], rejected: list[tuple[int, str]]
    ) -> None:
        keys, labels = chunk["key"][0].as_py(), chunk["label"][0].as_py()
        if rejected:
            ids = np.array([first + row for row, _ in rejected])
            write_rejected(self.folder, number, ids=ids, keys=[keys[row] for row, _ in rejected], reasons=[why for _, why in rejected])
        flat = np.concatenate(vectors) if vectors else np.zeros((0, self.surrogate.width), np.float32)
        ids, names = np.array([first + row for row in kept]), [keys[row] for row in kept]
        write_vectors(self.folder, number, ids=ids, keys=names, labels=[labels[row] for row in kept], vectors=flat)


def write_rejected(folder: Folder, chunk: int, *, ids: np.ndarray, keys: object, reasons: list[str]) -> None:
    """The images of a chunk that cannot be used, and why."""
    folder.write_table(f"rejected/{part_name(chunk)}", pa.table({"id": pa.array(ids, pa.int64()), "key": keys, "reason": reasons}))


def write_vectors(folder: Folder, chunk: int, *, ids: np.ndarray, keys: object, labels: object, vectors: np.ndarray) -> None:
    """The vectors `n D` of a chunk; written last, as they say that the chunk is done."""
    table = {
        "id": pa.array(ids, pa.int64()),
        "key": keys if isinstance(keys, pa.ChunkedArray) else pa.array(keys, pa.string()),
        "label": labels if isinstance(labels, pa.ChunkedArray) else pa.array(labels, pa.int64()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]),
    }
    folder.write_table(f"vectors/{part_name(chunk)}", pa.table(table))


def part_name(chunk: int) -> str:
    return f"chunk-{chunk:08d}.parquet"


def counted(folder: Folder) -> dict[str, int]:
    """Rejected rows of each finished chunk."""
    return {name: len(folder.read_table(f"rejected/{name}", columns=("id",))) for name in folder.names("rejected")}


def gather_rejected(folder: Folder) -> dict:
    """Merge the chunks' rejected rows into `rejected.parquet`; return their number."""
    parts = [folder.read_table(f"rejected/{name}") for name in folder.names("rejected")]
    schema = pa.schema([("id", pa.int64()), ("key", pa.string()), ("reason", pa.string())])
    table = pa.concat_tables([schema.empty_table(), *parts])
    folder.write_table("rejected.parquet", table)
    return {"rejected": len(table)}


def refuse_too_many(rejected: int, rows: int, most: float, folder: Folder) -> None:
    """Fail when more than the fraction `most` of the rows cannot be used, naming the first of them."""
    if rejected <= most * rows and rejected < rows:
        return
    parts = [folder.read_table(f"rejected/{name}") for name in folder.names("rejected")[:3]]
    worst = pa.concat_tables(parts).slice(0, 3).to_pylist()
    named = "; ".join(f"{row['key']}: {row['reason']}" for row in worst)
    raise ValueError(
        f"{rejected:,} of {rows:,} images cannot be used, more than --max-rejected {most:g} allows ({named}, …); "
        f"fix them, or allow them with --max-rejected {min(1.0, rejected / rows + 0.01):.2f}"
    )
