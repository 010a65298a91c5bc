"""Embedding: the real stage's rows/s once started over the slower of its two halves, decoding alone and encoding alone."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.data import as_shards, origin, photos
from benchmarks.job import Stages, job
from benchmarks.measure import Bench, Measure
from ray_ue.config.recipe import Recipe
from ray_ue.images.codec import decode_square
from ray_ue.models.pretrained.specs import parse
from ray_ue.models.pretrained.surrogates import Surrogate, load
from ray_ue.stages.protect.embed import BATCH_CPU, BATCH_GPU
from ray_ue.stages.protect.embed import part_name as chunk_name

CHUNKS = 3  # the first is the start, the others are timed
GOAL = 0.95


def measure(bench: Bench) -> Iterator[Measure]:
    gpu = bench.device.type == "cuda"
    rows = CHUNKS * (64 if bench.quick else 128) * (4 if gpu else 1)
    blobs = photos(bench.photos, count=rows)
    source = as_shards(iter(blobs), bench.scratch / "photos", rows=rows, per_shard=rows // CHUNKS)
    recipe = Recipe(image_size=224, craft_sample=2)  # the default surrogate, at the side of photographs
    device = bench.device
    surrogate = load(parse(recipe.surrogate), device=device, weights={}, image_size=recipe.image_size)
    with job(source, bench.scratch, recipe=recipe) as run:
        actors, _ = run.machines.encoder(run.resources)
        threads = run.machines.hosts().threads(run.resources, tasks=actors)
        torch.set_num_threads(threads)
        began = time.perf_counter()
        views = decode(blobs, recipe, canvas=surrogate.canvas, threads=max(threads, 2))
        decoding = rows / (time.perf_counter() - began)
        some = views[: rows // CHUNKS]
        before = encode(some, surrogate)
        stages = Stages(run)
        stages.until("surrogate")
        asked = time.time()
        embedded = stages.until("embed")["embed"]
        staged, first = through(Path(embedded.folder.uri) / "vectors")
    after = encode(some, surrogate)
    # The machine may be shared: encoding is timed on both sides of the stage.
    encoding = 2 / (1 / before + 1 / after)
    names = {"surrogate": recipe.surrogate, "images": origin(bench.photos), "rows": rows, "threads": threads, "device": device.type}
    yield Measure(what="embed: stage / slower of its halves", value=staged / min(decoding, encoding), least=GOAL, detail=names)
    yield Measure(what="embed: stage, once started", value=staged, unit="rows/s", detail={"first_chunk_after_s": round(first - asked, 2)})
    yield Measure(what="embed: decoding alone", value=decoding, unit="rows/s")
    yield Measure(
        what="embed: encoding alone", value=encoding, unit="rows/s", detail={"before": round(before, 2), "after": round(after, 2)}
    )


def decode(blobs: list[bytes], recipe: Recipe, *, canvas: int, threads: int) -> list[np.ndarray]:
    limits = recipe.limits()
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda blob: decode_square(blob, size=canvas, limits=limits), blobs))


def encode(views: list[np.ndarray], surrogate: Surrogate) -> float:
    """Views per second through the surrogate alone: pixels lie ready in its device's memory."""
    batch = BATCH_GPU if surrogate.device.type == "cuda" else BATCH_CPU
    pixels = torch.from_numpy(np.stack(views)).to(surrogate.device).permute(0, 3, 1, 2).float() / 255
    parts = pixels.split(batch)
    with torch.inference_mode():
        surrogate.features(parts[0]).cpu()
        began = time.perf_counter()
        for part in parts:
            surrogate.features(part).cpu()
    return len(views) / (time.perf_counter() - began)


def through(vectors: Path) -> tuple[float, float]:
    """(rows per second from the first finished chunk to the last, when the first was finished)."""
    parts = sorted((path.stat().st_mtime, pq.read_metadata(path).num_rows) for path in vectors.iterdir())
    assert len(parts) == CHUNKS, f"{len(parts)} chunks such as {chunk_name(0)}, {CHUNKS} were expected"
    (first, _), rest = parts[0], parts[1:]
    return sum(rows for _, rows in rest) / (rest[-1][0] - first), first
