"""Memory: the peak over all processes of a whole `ray-ue protect`, for a collection and for one ten times as large."""

import shutil
import sys
from collections.abc import Iterator

from benchmarks.data import as_shards, origin, photos, thumbnails
from benchmarks.measure import Bench, Measure
from benchmarks.processes import Watched, watch
from ray_ue.config.stages import STAGES

SIZES, QUICK_SIZES = (10_000, 100_000), (2_000, 20_000)
SHARDS = 10  # of the small collection; the large one has ten times as many
GOAL = 1.10
FLAGS = (
    "--method",
    "uc",
    "--surrogate",
    "ssl:small",
    "--image-size",
    "32",
    "--ssl-steps",
    "5",
    "--steps",
    "5",
)  # a tiny encoder; everything else is the default
GIB = 2**30


def measure(bench: Bench) -> Iterator[Measure]:
    small, large = QUICK_SIZES if bench.quick else SIZES
    seen = {rows: protect(rows, bench, per_shard=small // SHARDS) for rows in (small, large)}
    names = {"rows": [small, large], "images": f"32-pixel pieces of {origin(bench.photos)}, WebDataset", "flags": " ".join(FLAGS)}
    yield Measure(what=f"memory: peak for {large:,} / {small:,} rows", value=seen[large].peak / seen[small].peak, most=GOAL, detail=names)
    for rows, found in seen.items():
        detail: dict[str, object] = {
            "at_peak_gib": gib(found.at_peak),
            "processes_at_peak": found.processes,
            "by_stage_gib": gib(found.by_stage),
            "seconds": round(found.seconds, 1),
            "rows_per_s": round(rows / found.seconds, 1),
            "samples": found.samples,
        }
        yield Measure(what=f"memory: peak for {rows:,} rows", value=found.peak / GIB, unit="GiB", detail=detail)


def protect(rows: int, bench: Bench, *, per_shard: int) -> Watched:
    """Make the collection, protect it from the command line, and remove both."""
    root = bench.scratch / str(rows)
    source = as_shards(thumbnails(photos(bench.photos, count=64)), root / "source", rows=rows, per_shard=per_shard)
    try:
        return watch([sys.executable, "-m", "ray_ue", "protect", str(source), str(root / "copy"), *FLAGS], stages=tuple(STAGES))
    finally:
        shutil.rmtree(root)


def gib(found: dict[str, int]) -> dict[str, float]:
    return {name: round(size / GIB, 3) for name, size in found.items()}
