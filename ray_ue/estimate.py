"""The plan of a run before it runs: rows, passes, disk, devices. It looks at a few images and starts nothing."""

import os
from itertools import islice

import numpy as np
import torch

from ray_ue.images import Limits, Picture, Rejected, decode, encode
from ray_ue.pipeline import Plan
from ray_ue.recipe import Recipe
from ray_ue.sources import Shard, Source

LOOKED_AT = 24  # images that are decoded to tell how large the copy will be
SHARDS_READ = 4  # tar and Parquet shards whose rows are counted; the rest is scaled by their size


def estimate(made: Plan) -> str:
    """The plan as text, a line per fact."""
    recipe, source = made.recipe, made.source
    shards = source.shards()
    rows, counted = count(source, shards)
    pixels, looked, bad = look_at_some(source, shards, recipe.limits())
    canvas, size = recipe.geometry()
    sampled = min(recipe.craft_sample, rows)
    area = recipe.resize**2 if recipe.resize else pixels
    copy = rows * area * 3 * per_byte(recipe.image_format)
    work = sampled * canvas**2 * 3
    room = [f"{name} {folder.free_bytes() / 2**30:.1f} GiB" for name, folder in (("output", made.output),) if folder.local]
    steps = recipe.steps * recipe.batch
    lines = {
        "source": f"{source.root}  ({source.format}, {len(shards):,} shards)",
        "output": f"{made.output.uri}, private files in {made.work.uri}",
        "rows": f"{'' if counted else 'about '}{rows:,}" + (f", {bad} of {looked} looked at cannot be used" if bad else ""),
        "budget": f"{recipe.levels()} ({recipe.levels().levels} levels, L-inf)",
        "surrogate": f"{recipe.surrogate}, sees {size}x{size}" + (f", trained here for {recipe.ssl_steps} steps" if is_ssl(recipe) else ""),
        "passes": f"embed 1, export 1, verify 1 over all rows; crafting {steps:,} images "
        f"(the authors' code: {recipe.clusters * 50 * rows:,})",
        "disk": f"copy about {copy / 2**30:.2f} GiB ({recipe.image_format}), work folder about {work / 2**30:.2f} GiB"
        + (f"; free: {', '.join(room)}" if room else ""),
        "devices": f"{os.cpu_count()} cores, {torch.cuda.device_count()} GPUs here; RAY_ADDRESS joins a running Ray cluster",
    }
    if made.output.local and copy + work > made.output.free_bytes():
        lines["warning"] = "the disk will not hold it"
    return "\n".join(f"{name:>9}  {text}" for name, text in lines.items())


def is_ssl(recipe: Recipe) -> bool:
    return recipe.surrogate.startswith("ssl:")


def count(source: Source, shards: list[Shard]) -> tuple[int, bool]:
    """(rows, whether they were all counted): loose files are known, packed shards are counted up to SHARDS_READ and scaled by bytes."""
    loose = sum(file.is_image for shard in shards for file in shard.files)
    packed = [shard for shard in shards if not shard.files]
    read = packed[:SHARDS_READ]
    rows = sum(len(source.rows(shard)) for shard in read)
    size = sum(shard.size for shard in read)
    whole = sum(shard.size for shard in packed)
    return loose + (round(rows * whole / size) if size else 0), len(read) == len(packed)


def look_at_some(source: Source, shards: list[Shard], limits: Limits) -> tuple[float, int, int]:
    """(mean pixels per image, images looked at, how many of them cannot be used) from the first, middle and last shard."""
    chosen = {shards[i].number: shards[i] for i in (0, len(shards) // 2, len(shards) - 1)}
    areas, bad = [], 0
    for shard in chosen.values():
        rows = source.rows(shard)
        for data in islice(source.read(shard, rows.slice(0, LOOKED_AT // len(chosen))), LOOKED_AT):
            try:
                height, width = decode(data, limits=limits).rgb.shape[:2]
                areas.append(height * width)
            except Rejected:
                bad += 1
    return (float(np.mean(areas)) if areas else 0.0), len(areas) + bad, bad


def per_byte(image_format: str) -> float:
    """Bytes written per byte of pixels: measured on noise over a smooth gradient, the worst that a perturbation does to a format."""
    ramp = np.linspace(0, 200, 256)[None, :, None] + np.zeros((256, 1, 3))
    noisy = (ramp + np.random.default_rng(0).integers(-16, 17, ramp.shape)).clip(0, 255).astype(np.uint8)
    return len(encode(Picture(rgb=noisy, alpha=None, exif=b"", icc=b""), format=image_format)) / noisy.nbytes
