"""A preview: a page with a few images protected by the method, before the long run."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.images.codec import Limits, Picture, Rejected, decode, encode, square_view
from ray_ue.methods.requirements import requirements_of
from ray_ue.pipelines import protect
from ray_ue.progress import say
from ray_ue.report.evaluation.gallery import GAIN, pair
from ray_ue.report.html import render
from ray_ue.sources import Shard, Source
from ray_ue.sources.image_files import EXTENSIONS
from ray_ue.storage.artifacts import Folder
from ray_ue.types import Pixels

SIDE = 512  # longest side of an image in a preview
CRAFTED = 120  # images that a preview crafts on: enough for ten clusters
SSL_STEPS, STEPS = 20, 60  # instead of hundreds; the perturbation fills the budget earlier


@dataclass(frozen=True, kw_only=True)
class SampledImage:
    """An image of the source, reduced to at most `SIDE` pixels, and its class or -1."""

    rgb: Pixels
    label: int


def preview(job: Job, *, count: int) -> str:
    """Craft on a sample of the plan's source and write `OUTPUT.preview.html` with `count` images; returns its path.

    Raises `ValueError` for a page that cannot be written, and for requests that the pipeline refuses.
    """
    if not job.output.local:
        raise ValueError(
            f"--preview writes a page next to the output, and {job.output.uri} is no local folder; name a local one for the preview"
        )
    page = Path(f"{job.output.uri}.preview.html")
    Folder(str(page.parent)).check_writable()
    with TemporaryDirectory(prefix="ray-ue-preview-") as root:
        before, after = Path(root, "before"), Path(root, "after")
        wanted = max(CRAFTED, count)
        names = _write_images(sample_images(job.source, count=wanted, limits=job.recipe.limits()), before, size=job.recipe.resize)
        if len(names) < job.recipe.clusters and requirements_of(job.recipe).groups == "kmeans":
            raise ValueError(f"the preview found {len(names)} usable images for {job.recipe.clusters} clusters; use fewer --clusters")
        say(f"  preview  crafting on {len(names)} images; no copy is written")
        artifacts = protect.run(
            protect.plan(str(before), str(after), recipe=shorten_recipe(job.recipe), resources=Resources(workers="local")), until="export"
        )
        chosen = names[:: max(1, len(names) // count)][:count]
        ending = EXTENSIONS[job.recipe.image_format]
        pairs = [_pair(before / name, (after / name).with_suffix(ending), number=number) for number, name in enumerate(chosen, 1)]
        _write_page(page, job, pairs, artifacts["export"].facts, len(names))
    return str(page)


def shorten_recipe(recipe: Recipe) -> Recipe:
    """The recipe with few steps, for a folder of PNGs that have their size already; method, groups and budget stay."""
    steps = min(recipe.steps or STEPS, STEPS) if recipe.method == "uc" else recipe.steps
    # Imported embeddings refer to images by their names, which the sample does not keep.
    few = {"ssl_steps": min(recipe.ssl_steps, SSL_STEPS), "steps": steps}
    return replace(recipe, format="folder", embeddings="", resize=0, max_rejected=1.0, **few)


def sample_images(source: Source, *, count: int, limits: Limits) -> Iterator[SampledImage]:
    """At most `count` usable images, spread over the shards of the source and over the rows of each."""
    shards = [shard for shard in source.shards() if shard.files == () or any(file.is_image for file in shard.files)]
    count_taken = 0
    chosen = shards[:: max(1, len(shards) // count)][:count]
    for left, shard in enumerate(chosen):
        share = -(-(count - count_taken) // (len(chosen) - left))
        for image in islice(_read_images(source, shard, share, limits), share):
            yield image
            count_taken += 1


def _read_images(source: Source, shard: Shard, count: int, limits: Limits) -> Iterator[SampledImage]:
    rows = source.rows(shard)
    rows = rows.take(list(range(0, len(rows), max(1, len(rows) // max(1, count)))))
    for data, label in zip(source.read(shard, rows), rows["label"].to_pylist()):
        try:
            image = Image.fromarray(decode(data, limits=limits).rgb)
        except Rejected:
            continue
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        yield SampledImage(rgb=np.asarray(image), label=-1 if label is None else label)


def _write_images(images: Iterator[SampledImage], folder: Path, *, size: int) -> list[str]:
    """Write images as PNG files, in class folders if they have labels, and as squares of at most `size` if that is not 0; returns their
    names."""
    names = []
    for number, image in enumerate(images):
        path = folder / (f"class-{image.label:06d}" if image.label >= 0 else "") / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rgb = square_view(image.rgb, size=min(size, *image.rgb.shape[:2])) if size else image.rgb
        path.write_bytes(encode(Picture(rgb=rgb, alpha=None, exif=b"", icc=b""), format="png"))
        names.append(os.path.relpath(path, folder))
    if not names:
        raise ValueError("the preview found no image that can be used; ray-ue protect … --dry-run says what was looked at")
    return names


def _pair(before: Path, after: Path, *, number: int) -> dict[str, Any]:
    old, new = (decode(path.read_bytes(), limits=Limits(min_side=1)).rgb for path in (before, after))
    return pair(old, new, about=f"image {number}")


def _write_page(page: Path, job: Job, pairs: list[dict[str, Any]], exported: dict, crafted: int) -> None:
    changed = {name: value for name, value in asdict(job.recipe).items() if value != getattr(Recipe(), name)}
    facts = {
        "method": f"{job.recipe.method}, groups: {requirements_of(job.recipe).groups}",
        "budget": str(job.recipe.levels()),
        "largest change": f"{exported['most_levels']}/255",
        "PSNR": f"{exported['psnr_mean']} dB",
        "crafted on": f"{crafted} images",
        "settings": ", ".join(f"{name}={value}" for name, value in changed.items()) or "the defaults",
    }
    text = render("preview.html", facts=facts, source=job.source.root, pairs=pairs, gain=GAIN)
    Folder(str(page.parent)).write(page.name, text.encode())
