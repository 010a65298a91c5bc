"""Embed: one streaming pass over the source; every readable image gets its surrogate features, every other one a reason."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from ray_ue.engine.devices import assigned_device, own_threads
from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run, stage
from ray_ue.images.codec import Limits, Rejected, decode_square
from ray_ue.images.memory import READING
from ray_ue.models.pretrained.specs import parse
from ray_ue.models.pretrained.surrogates import Surrogate, load
from ray_ue.progress import Progress, counted, say
from ray_ue.stages.protect.index import chunks, listed_source
from ray_ue.stages.protect.memory import largest_picture, share_out
from ray_ue.stages.protect.read import Reader, pack_chunks
from ray_ue.stages.protect.rejected import Column, gather_rejected, read_rejected, refuse_too_many, write_rejected
from ray_ue.storage.artifacts import Artifact, Folder

VERSION = 1
FIELDS = ("surrogate", "image_size", "max_pixels")
BATCH_CPU, BATCH_GPU = 64, 256


def embed(run: Run, *, index: Artifact, weights: dict[str, Artifact]) -> Artifact:
    """The vectors artifact: `vectors/chunk-*.parquet` (id, key, label, vector) in id order, and `rejected.parquet`.

    `weights` holds the trained surrogate when it is an ssl one, else nothing.
    """
    fields, inputs = run.recipe.values(FIELDS), {"index": index, **weights}
    embedded = stage(run, "embed", version=VERSION, fields=fields, inputs=inputs, build=lambda folder: build(run, index, weights, folder))
    rejected, rows = embedded.facts["rejected"], index.facts["rows"]
    refuse_too_many(rejected, rows, run.recipe.max_rejected, embedded.folder, published=len(run.source.published))
    return embedded


def build(run: Run, index: Artifact, weights: dict[str, Artifact], folder: Folder) -> dict:
    done = set(folder.names("vectors"))
    all_chunks = chunks(index)
    waiting = [chunk for chunk in all_chunks if part_name(chunk.number) not in done]
    progress = Progress(stage="embed", total=index.facts["rows"])
    rejected = sum(len(table) for table in read_rejected(folder))
    progress.skip(sum(c.rows for c in all_chunks) - sum(c.rows for c in waiting), rejected=rejected)
    actors, share, arguments = encoders(run, weights)
    if waiting:
        threads = counted(arguments["threads"], "thread")
        say(f"    embed  {counted(actors, 'encoder')} on {'the GPU' if share else 'the CPU'}, {threads} each")
    reader, limits = Reader(source=listed_source(run, index), index=index.folder), run.recipe.limits()
    largest = partial(largest_picture, reader.source, index, limits=limits)
    decoders = max(2, run.machines.hosts().threads(run.resources, tasks=actors))
    together, _ = share_out(run.machines, run.resources, tasks=actors * decoders, per_pixel=READING, limits=limits, largest=largest)
    arguments |= {"limits": limits, "folder": folder, "decoders": max(1, min(decoders, together // max(1, actors)))}
    items = pack_chunks(waiting, reader.source)
    cpus, actors = run.machines.beside_readers(actors), min(actors, len(items))
    for result in stream(items, read=reader, work=Embedder, arguments=arguments, cpus=cpus, gpus=share, actors=actors):
        progress.add(result["rows"], rejected=result["rejected"])
        if progress.rejected > run.recipe.max_rejected * progress.total:
            refuse_too_many(progress.rejected, progress.total, run.recipe.max_rejected, folder, published=len(run.source.published))
    progress.close()
    return gather_rejected(folder) | {"rows": index.facts["rows"], "device": "gpu" if share else "cpu"}


def fetchable(weights: Mapping[str, Artifact]) -> Folder | str:
    """Where a trained surrogate lies; the empty string for one that brings its own weights."""
    return next((artifact.folder for artifact in weights.values()), "")


def open_surrogate(text: str, *, weights: Folder | str, image_size: int, device: torch.device) -> Surrogate:
    """The frozen surrogate that `text` names, with the weights trained for this collection if it needs them."""
    trained = load_file(weights.fetch("weights.safetensors")) if isinstance(weights, Folder) else {}
    return load(parse(text), device=device, weights=trained, image_size=image_size)


def encoders(run: Run, weights: Mapping[str, Artifact]) -> tuple[int, float, dict[str, Any]]:
    """How many actors hold the surrogate of the recipe, the GPU share of each, and the arguments of `Encoder`."""
    actors, share = run.machines.encoder(run.resources)
    arguments: dict[str, object] = {
        "surrogate": run.recipe.surrogate,
        "weights": fetchable(weights),
        "image_size": run.recipe.image_size,
        "threads": run.machines.hosts().threads(run.resources, tasks=actors),
    }
    return actors, share, arguments


class Encoder:
    """Holds the surrogate for as long as its process lives."""

    def __init__(self, *, surrogate: str, weights: Folder | str, image_size: int, threads: int) -> None:
        torch.set_num_threads(own_threads(threads))  # Ray sets OMP_NUM_THREADS to the share of logical CPUs, which is not the cores
        device = assigned_device()
        self.surrogate = open_surrogate(surrogate, weights=weights, image_size=image_size, device=device)
        self.batch = BATCH_GPU if device.type == "cuda" else BATCH_CPU

    def features(self, views: np.ndarray) -> np.ndarray:
        """The features `n D` of views `n H W 3`, all at once."""
        return self.begin(views).cpu().numpy()

    def begin(self, views: np.ndarray) -> torch.Tensor:
        """Ask for the features `n D` of views `n H W 3`, all at once; to read them waits for the device, this does not."""
        host = torch.from_numpy(np.ascontiguousarray(views))
        if self.surrogate.device.type == "cuda":
            host = host.pin_memory()  # from pinned memory the copy goes on while the next batch is decoded
        with torch.inference_mode():
            pixels = host.to(self.surrogate.device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
            return self.surrogate.features(pixels).float()


class Embedder(Encoder):
    """An actor that decodes in up to `decoders` threads, embeds in batches, and writes each chunk's vectors in one move."""

    def __init__(self, *, limits: Limits, folder: Folder, decoders: int, **encoder: Any) -> None:
        super().__init__(**encoder)
        self.limits, self.folder = limits, folder
        self.pool = ThreadPoolExecutor(min(decoders, max(own_threads(decoders), 2)), thread_name_prefix="decode")

    def __call__(self, chunk: pa.Table) -> pa.Table:
        number, first = chunk["number"][0].as_py(), chunk["first_id"][0].as_py()
        keys, labels = chunk["key"][0].values, chunk["label"][0].values
        blobs = [blob.as_buffer() for blob in chunk["data"][0].values]
        kept: list[int] = []
        asked: list[torch.Tensor] = []
        reasons: dict[int, str] = {}
        ready: list[np.ndarray] = []
        for row, view in enumerate(self.pool.map(self.view, blobs)):
            if isinstance(view, str):
                reasons[row] = view
                continue
            kept.append(row)
            ready.append(view)
            if len(ready) == self.batch:
                asked.append(self.begin(np.stack(ready)))
                ready = []
        if ready:
            asked.append(self.begin(np.stack(ready)))
        if reasons:
            bad = np.array(list(reasons))
            write_rejected(self.folder, chunk_name(number), ids=first + bad, keys=keys.take(bad), reasons=list(reasons.values()))
        good = np.array(kept, np.int64)
        flat = np.concatenate([np.zeros((0, self.surrogate.width), np.float32), *(vectors.cpu().numpy() for vectors in asked)])
        write_vectors(self.folder, number, ids=first + good, keys=keys.take(good), labels=labels.take(good), vectors=flat)
        return pa.table({"number": [number], "rows": [len(blobs)], "rejected": [len(reasons)]})

    def view(self, blob: pa.Buffer) -> np.ndarray | str:
        try:
            return decode_square(blob.to_pybytes(), size=self.surrogate.canvas, limits=self.limits)
        except Rejected as reason:
            return str(reason)


def write_vectors(folder: Folder, chunk: int, *, ids: np.ndarray, keys: Column, labels: Column, vectors: np.ndarray) -> None:
    """The vectors `n D` of a chunk; written last, as they say that the chunk is done."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    table = pa.table({"id": pa.array(ids, pa.int64()), "key": keys, "label": labels, "vector": column})
    folder.write_table(f"vectors/{part_name(chunk)}", table)


def part_name(chunk: int) -> str:
    return f"{chunk_name(chunk)}.parquet"


def chunk_name(chunk: int) -> str:
    return f"chunk-{chunk:08d}"
