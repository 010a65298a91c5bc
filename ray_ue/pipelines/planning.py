"""The plan of a run: rows, passes, disk, devices, from a listing and a few decoded images."""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ray_ue.config.job import Job
from ray_ue.config.recipe import SIDES, Recipe, Resources
from ray_ue.grouping.embeddings import open_given
from ray_ue.images.codec import Limits, Picture, Rejected, decode, encode
from ray_ue.images.memory import WRITING
from ray_ue.models.pretrained import specs
from ray_ue.pipelines.claim import CLAIM, claim_of, has_exports
from ray_ue.pipelines.generations import History, changes
from ray_ue.pipelines.pace import device_here, pace_lines
from ray_ue.pipelines.whole_run import whole_run
from ray_ue.progress import counted, format_bytes
from ray_ue.sources import Shard, Source
from ray_ue.stages.protect.summary import beside_lines
from ray_ue.storage.artifacts import Folder

LOOKED_AT = 24  # images that are decoded to tell how large the copy will be
# What stands for the surrogate where there is none: without given vectors, and with them.
NONE = (
    "not used by this method",
    "not used: the imported embeddings are clustered, and the method needs no network",
)
SHARDS_READ = 2  # tar and Parquet shards whose rows are counted; the rest is scaled by their size


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take: rows, pixels of the largest of those `looked` at, bytes of the copy and of the private work folder."""

    rows: int
    counted: bool
    looked: int
    largest: int
    copy: float
    work: float


def estimate(source: Source, *, recipe: Recipe) -> Estimate:
    """From a listing and a few decoded images."""
    shards = source.shards()
    rows, counted = count(source, shards)
    areas = look_at_some(source, shards, recipe.limits())
    area = recipe.resize**2 if recipe.resize else float(np.mean(areas or [0]))
    copy, work = rows * area * 3 * per_byte(recipe.image_format), work_bytes(recipe, rows=rows)
    return Estimate(rows=rows, counted=counted, looked=len(areas), largest=max(areas, default=0), copy=copy, work=work)


def work_bytes(recipe: Recipe, *, rows: int) -> float:
    """Views, the finished perturbations, and both sides of the table that one delta per image is made in."""
    return views_bytes(recipe, rows=rows) + 3 * bank_bytes(recipe, rows=rows)


def bank_bytes(recipe: Recipe, *, rows: int) -> float:
    """The finished perturbations where every image has its own; a few shared ones take no room that counts."""
    from ray_ue.methods.requirements import requirements_of

    needs = requirements_of(recipe)
    return rows * recipe.side(frozen=needs.method.uses_surrogate) ** 2 * 3 if needs.per == "image" else 0


def views_bytes(recipe: Recipe, *, rows: int) -> float:
    """Views for the surrogate and for crafting, while they are joined twice."""
    from ray_ue.methods.requirements import requirements_of

    needs = requirements_of(recipe)
    sampled = rows if needs.per == "image" else min(recipe.craft_sample, rows)
    views = 2 * sampled * recipe.side(frozen=needs.method.uses_surrogate) ** 2 * 3
    if needs.embeds and not needs.method.uses_surrogate:
        views += 2 * min(recipe.craft_sample, rows) * recipe.geometry()[0] ** 2 * 3
    return views


def refuse_room(job: Job) -> None:
    """Refuse a run on a local disk that cannot hold what is still to be written."""
    if not job.output.local:
        return
    plan, free = estimate(job.source, recipe=job.recipe), job.output.free_bytes()
    if (need := plan.copy + plan.work) > free and (need := still_to_write(job, need)) > free:
        raise ValueError(
            f"{job.output.uri} needs about {format_bytes(need)}, {format_bytes(free)} are free; free some room, "
            "name an output on a larger disk, or write smaller files with --image-format webp or --resize"
        )


def still_to_write(job: Job, whole: float) -> float:
    """Of the bytes of a whole run those that are not there yet: of a finished copy what joins, and what is missing from it."""
    if job.anew or job.shared_path or not has_exports(job.work):
        same = job.work.exists(CLAIM) and job.work.read_json(CLAIM) == json.loads(json.dumps(claim_of(job)))  # else it is made again
        return whole - job.output.size() - (job.work.size() if same else 0.0)
    history, sizes = History.of(job), dict(job.source.files())
    fresh = sum(sizes[name] for name in changes(job.source, history).fresh)
    written = sum(line["bytes"] for line in history.written(("bytes",)))
    return whole * fresh / max(1, sum(sizes.values())) + max(0.0, written - job.output.size())


def describe(source: Source, plan: Estimate, *, recipe: Recipe, output: Folder, work: Folder, resources: Resources) -> str:
    """The plan as text, a line per fact."""
    from ray_ue.methods.requirements import requirements_of

    needs, (device, gpus) = requirements_of(recipe), device_here(resources)
    method, per = needs.method, needs.per
    rows = plan.rows if per == "image" else min(recipe.craft_sample, plan.rows)
    images = method.passes(rows)
    free = f"; {format_bytes(output.free_bytes())} are free" if output.local else ""
    embed = "embed, " if needs.embeds else ""
    clusters = f"{recipe.clusters} clusters" if recipe.clusters else "clusters: as many as independent runs agree on (auto)"
    groups = {"label": "one group per label", "kmeans": clusters, "none": "no groups"}[needs.groups]
    compared = recipe.groups == "kmeans" and recipe.method == "uc" and recipe.clusters
    reference = f" (the authors' code: {recipe.clusters * 50 * plan.rows:,})" if compared else ""
    paced = method.source_arch or method.uses_surrogate
    pace, crafting = pace_lines(recipe, method, rows=rows, images=images, device=device) if paced else ({}, 0.0)
    whole = whole_run(recipe, needs, list(_some_images(source, source.shards())), rows=plan.rows, crafting=crafting, device=device)
    lines = {
        "source": f"{source.root}  ({source.format}, {counted(len(source.shards()), 'shard')})",
        "output": f"{output.uri}, private files in {work.uri}",
        "rows": f"{'' if plan.counted else 'about '}{plan.rows:,}",
        **beside_lines(source),
        "budget": f"{recipe.levels()} ({recipe.levels().levels} levels, L-inf), {groups}",
        "method": f"{recipe.method}, one perturbation per {per}"
        + ("" if method.keeps_budget else "; it keeps no budget: it replaces pixels"),
        **({"vectors": given_line(recipe)} if recipe.embeddings else {}),
        "surrogate": surrogate_line(recipe) if needs.surrogate else NONE[bool(recipe.embeddings)],
        "passes": f"{embed}export and verify read every row once; crafting takes {images:,} image passes{reference}",
        **pace,
        "in all": whole.line(),
        "pictures": f"the largest of {plan.looked} looked at has {pixels_of(plan.largest)}; each that is worked on at a time "
        f"takes about {format_bytes(WRITING[recipe.image_format] * plan.largest)} of memory",
        "disk": f"copy about {format_bytes(plan.copy)} ({recipe.image_format}), work folder about {format_bytes(plan.work)}{free}",
        "devices": f"{os.cpu_count()} cores, {gpus} GPUs here; RAY_ADDRESS joins a running Ray cluster",
    }
    return "\n".join(f"{name:>9}  {text}" for name, text in lines.items())


def pixels_of(count: int) -> str:
    return f"{count / 1e6:,.1f} megapixels" if count >= 1e5 else f"{count:,} pixels"


def given_line(recipe: Recipe) -> str:
    given = open_given(recipe.embeddings)
    return f"{given.rows:,} of {given.width} numbers in {given.folder}, in the place of embeddings made here"


def surrogate_line(recipe: Recipe) -> str:
    size = recipe.geometry()[1]
    return f"{recipe.surrogate}, sees {size}x{size}" + (f", trained here for {recipe.ssl_steps} steps" if is_ssl(recipe) else "")


def is_ssl(recipe: Recipe) -> bool:
    return recipe.surrogate.startswith("ssl:")


def count(source: Source, shards: list[Shard]) -> tuple[int, bool]:
    """(rows, whether they were all counted): loose files are known, packed shards are counted up to SHARDS_READ and scaled by bytes."""
    loose = sum(file.is_image for shard in shards for file in shard.files)
    packed = [shard for shard in shards if not shard.files]
    read = packed[:SHARDS_READ]
    rows = sum(len(source.rows(shard)) for shard in read)
    read_bytes = sum(shard.size for shard in read)
    whole = sum(shard.size for shard in packed)
    return loose + (round(rows * whole / read_bytes) if read_bytes else 0), len(read) == len(packed)


def look_at_some(source: Source, shards: list[Shard], limits: Limits) -> list[int]:
    """The pixels of each image of some of the first, middle and last shard that can be used."""
    areas = []
    for data in _some_images(source, shards):
        with suppress(Rejected):
            height, width = decode(data, limits=limits).rgb.shape[:2]
            areas.append(height * width)
    return areas


def _some_images(source: Source, shards: list[Shard]) -> Iterator[bytes]:
    """Up to `LOOKED_AT` image files of the first, middle and last shard."""
    chosen = {shards[i].number: shards[i] for i in (0, len(shards) // 2, len(shards) - 1)}
    for shard in chosen.values():
        yield from source.read(shard, source.rows(shard).slice(0, LOOKED_AT // len(chosen)))


def median_side(source: Source) -> float:
    """The median of the shorter sides of some images of the first, middle and last shard, from their headers; 0 if none can be read."""
    sides = []
    for data in _some_images(source, source.shards()):
        with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(io.BytesIO(data)) as image:
            sides.append(min(image.size))
    return float(np.median(sides)) if sides else 0.0


def sized(recipe: Recipe, source: Source) -> Recipe:
    """The recipe with the side that suits its networks and the pictures, where none was stated.

    A network of timm that others have trained tells more in pictures enlarged to its own side; what is trained here takes the pictures'.
    """
    from ray_ue.methods.requirements import requirements_of

    needs = requirements_of(recipe)
    trained_elsewhere = needs.surrogate and not needs.method.source_arch and specs.parse(recipe.surrogate).kind == "timm"
    return recipe.sized(SIDES[-1] if trained_elsewhere else median_side(source))


def coarse_line(source: Source, recipe: Recipe) -> str:
    """A warning where networks see the pictures much smaller than they are; empty if there is nothing to say."""
    from ray_ue.methods.requirements import requirements_of

    needs, median = requirements_of(recipe), median_side(source)
    if not (needs.method.source_arch or needs.surrogate):
        return ""
    side = recipe.image_size if needs.method.source_arch else recipe.geometry()[1]
    if median < 2 * side or side >= SIDES[-1]:
        return ""
    return (
        f"--image-size {recipe.image_size} is far below these pictures (median {median:.0f} px): what is crafted there and "
        f"enlarged protects little against whoever trains at their own size; give --image-size auto"
    )


def per_byte(image_format: str) -> float:
    """Bytes written per byte of pixels: measured on noise over a smooth gradient, the worst that a perturbation does to a format."""
    ramp = np.linspace(0, 200, 256)[None, :, None] + np.zeros((256, 1, 3))
    noisy = (ramp + np.random.default_rng(0).integers(-16, 17, ramp.shape)).clip(0, 255).astype(np.uint8)
    return len(encode(Picture(rgb=noisy, alpha=None, exif=b"", icc=b""), format=image_format)) / noisy.nbytes
