"""`python -m benchmarks.scale`: memory and the cost of a row while a collection grows tenfold and again: small images, a tiny encoder.

SCALE_ROWS=10000,100000,1000000 says how many. SCALE_CLUSTERS=1000 SCALE_WIDTH=1280 gives embeddings of that width, forms as many clusters,
and protects with textures. Prints a table and keeps the numbers in bench-out/scale.json.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.__main__ import PHOTOS
from benchmarks.data import as_shards, photos, thumbnails
from benchmarks.measure import machine
from benchmarks.processes import Watched, watch
from ray_ue.config.stages import STAGES

ROWS = "10000,100000,1000000"
PER_SHARD = 5_000
DIFFERENT = 5_000  # images; more rows repeat them, for what an image shows changes no cost
FLAGS = ("--method", "uc", "--surrogate", "ssl:plain", "--ssl-steps", "5", "--steps", "5", "--image-size", "16")
GIVEN = ("--method", "texture", "--fit-sample", "131072", "--restarts", "1", "--image-size", "32")
PER_PART = 50_000  # vectors of one file
STREAMED = ("index", "embed", "cluster", "export", "verify")  # the stages that see every row
CLOSED = re.compile(r"^\s*(\w+)\s+[\d,]+ (?:rows|images|shards) in ((?:\d+:)?\d+:\d+)")
GIB, MIB = 2**30, 2**20


def main() -> int:
    sizes = [int(word) for word in os.environ.get("SCALE_ROWS", ROWS).split(",")]
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    found: dict[str, dict] = {}
    for rows in sizes:
        found[str(rows)] = measure(rows)
        (out / "scale.json").write_text(json.dumps({"machine": machine(), "rows": found}, indent=1) + "\n")
    show(found)
    return 0


def measure(rows: int) -> dict:
    """Protect `rows` rows from the command line in a folder of its own, which is removed."""
    root = Path(tempfile.mkdtemp(prefix="ray-ue-scale-", dir=os.environ.get("SCALE_DIR")))
    try:
        source, flags = repeated(root / "source", rows=rows), flags_for(root / "embeddings", rows=rows)
        seen = watch([sys.executable, "-m", "ray_ue", "protect", str(source), str(root / "copy"), *flags], stages=tuple(STAGES))
        work = sum(path.stat().st_size for path in (root / "copy.ray-ue").rglob("*") if path.is_file())
    finally:
        shutil.rmtree(root)
    return {
        "flags": [flag for flag in flags if not flag.startswith("/")],
        "seconds": seconds(seen),
        "wall": round(seen.seconds, 1),
        "peak_gib": round(seen.peak / GIB, 3),
        "driver_gib": round(seen.own / GIB, 3),
        "by_stage_gib": {name: round(size / GIB, 3) for name, size in seen.by_stage.items()},
        "work_mib": round(work / MIB, 1),
    }


def repeated(folder: Path, *, rows: int) -> Path:
    """Shards of PER_SHARD rows; after DIFFERENT images they are links to the first ones."""
    as_shards(thumbnails(photos(PHOTOS, count=64)), folder, rows=min(rows, DIFFERENT), per_shard=PER_SHARD)
    first = sorted(folder.iterdir())
    for number in range(len(first), -(-rows // PER_SHARD)):
        os.link(first[number % len(first)], folder / f"{number:05d}.tar")
    return folder


def flags_for(folder: Path, *, rows: int) -> tuple[str, ...]:
    """The flags of the run: the smallest encoder, or given embeddings, which are written to `folder`."""
    clusters, width = int(os.environ.get("SCALE_CLUSTERS", "0")), int(os.environ.get("SCALE_WIDTH", "0"))
    if not width:
        return (*FLAGS, "--clusters", str(clusters)) if clusters else FLAGS
    write_embeddings(folder, rows=rows, clusters=clusters or 10, width=width)
    return (*GIVEN, "--embeddings", str(folder), "--clusters", str(clusters or 10))


def write_embeddings(folder: Path, *, rows: int, clusters: int, width: int) -> None:
    """Vectors around `clusters` random centres in the layout of clip-retrieval, for the rows of `repeated`."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((clusters, width), dtype=np.float32)
    for kind in ("img_emb", "metadata"):
        (folder / kind).mkdir(parents=True)
    for number, begin in enumerate(range(0, rows, PER_PART)):
        count = min(PER_PART, rows - begin)
        vectors = centers[rng.integers(clusters, size=count)] + 0.7 * rng.standard_normal((count, width), dtype=np.float32)
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors.astype(np.float16))
        names = [f"{row // PER_SHARD:05d}.tar/{row % DIFFERENT:08d}.jpg" for row in range(begin, begin + count)]
        pq.write_table(pa.table({"image_path": names}), folder / "metadata" / f"metadata_{number}.parquet")


def seconds(seen: Watched) -> dict[str, float]:
    """How long each stage that sees every row took, as it says itself."""
    told = [closed for line in seen.lines if (closed := CLOSED.match(line)) and closed[1] in STREAMED]
    return {closed[1]: float(sum(60**place * int(part) for place, part in enumerate(reversed(closed[2].split(":"))))) for closed in told}


def show(found: dict[str, dict]) -> None:
    facts = machine()
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB\n")
    print(
        "| rows | "
        + " | ".join(f"{name}, ms a row" for name in STREAMED)
        + " | all, s | peak, GiB | command, GiB | private files, bytes a row |"
    )
    print("|--:|" + "--:|" * (len(STREAMED) + 4))
    for rows, one in found.items():
        each = [f"{1000 * one['seconds'][name] / int(rows):.3f}" if name in one["seconds"] else "" for name in STREAMED]
        print(
            f"| {int(rows):,} | {' | '.join(each)} | {one['wall']:.0f} | {one['peak_gib']:.2f} | {one['driver_gib']:.2f} "
            f"| {one['work_mib'] * MIB / int(rows):.0f} |"
        )


if __name__ == "__main__":
    sys.exit(main())
