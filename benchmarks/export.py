"""Exporting: the real stage's rows/s once started over decoding, applying and encoding alone in as many threads."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.data import as_folder, origin, photos
from benchmarks.job import Stages, finished_at, job, steady_rate
from benchmarks.measure import Bench, Measure
from ray_ue.config.recipe import Recipe
from ray_ue.images.codec import Picture, decode, encode
from ray_ue.perturbations import Poison
from ray_ue.stages.protect.cluster import open_groups
from ray_ue.stages.protect.craft import open_poison

GOAL = 0.85
MARGIN = 0.1
LARGE = 100_000  # rows of a collection whose share of SSIM measurements the small one here is given


def measure(bench: Bench) -> Iterator[Measure]:
    rows = 512 if bench.quick else 1024
    blobs = photos(bench.photos, count=rows)
    source = as_folder(blobs, bench.scratch / "photos")
    # The default recipe: texture, whose crafting costs nothing, and whose waves are drawn anew for every image.
    recipe = Recipe(image_size=128, craft_sample=256)
    with job(source, bench.scratch, recipe=recipe) as run:
        threads = run.machines.cores
        stages = Stages(run)
        done = stages.until("craft")
        poison, slots = open_poison(done["craft"].folder), open_groups(done["cluster"].folder).slot_of
        before = bare(blobs, slots, poison, recipe, threads=threads)
        asked = time.time()
        stages.until("export")
        times = finished_at(Path(run.output.uri))
    after = bare(blobs, slots, poison, recipe, threads=threads)
    alone = 2 / (1 / before + 1 / after)
    staged, whole = steady_rate(times, margin=MARGIN), (len(times) - 1) / float(times[-1] - times[0])
    names = {"images": origin(bench.photos), "rows": len(times), "threads": threads, "format": recipe.image_format}
    yield Measure(what="export: stage / decode + apply + encode", value=staged / alone, least=GOAL, detail=names)
    yield Measure(
        what="export: stage, once started",
        value=staged,
        unit="rows/s",
        detail={"first_to_last_rows_s": round(whole, 2), "first_image_after_s": round(float(times[0]) - asked, 2)},
    )
    yield Measure(
        what="export: decode + apply + encode alone",
        value=alone,
        unit="rows/s",
        detail={"before": round(before, 2), "after": round(after, 2)},
    )


def bare(blobs: list[bytes], slots: np.ndarray, poison: Poison, recipe: Recipe, *, threads: int) -> float:
    """Rows per second of the work that cannot be left out, from bytes in memory to bytes in memory."""
    limits = recipe.limits()

    def protect(row: int) -> int:
        clean = decode(blobs[row], limits=limits)
        rgb = poison.apply(clean.rgb, int(slots[row]), key=str(row))
        return len(encode(Picture(rgb=rgb, alpha=clean.alpha, exif=clean.exif, icc=clean.icc), format=recipe.image_format))

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        for _ in pool.map(protect, np.flatnonzero(slots >= 0).tolist()):
            pass
        return int((slots >= 0).sum()) / (time.perf_counter() - began)
