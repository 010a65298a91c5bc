"""A preview: the method at work on a few images, before the long run. It writes one page and no copy."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.images.codec import Limits, Picture, Rejected, decode, encode
from ray_ue.methods.requirements import requirements_of
from ray_ue.pipelines import protect
from ray_ue.progress import say
from ray_ue.report.evaluation.gallery import GAIN, pair
from ray_ue.report.html import escape, facts, figure
from ray_ue.report.shell import document
from ray_ue.sources import Shard, Source
from ray_ue.storage.artifacts import Folder
from ray_ue.types import Pixels

MOST = 60  # images on the page
SIDE = 512  # longest side of an image in a preview: photographs are shown at this size anyway
CRAFTED = 120  # images that a preview crafts on: enough for ten clusters
SSL_STEPS, STEPS = 20, 60  # instead of hundreds; the budget is used up long before
NOTE = (
    "It looks like the copy will: the budget is the same and the method is the one you asked for. How well it protects cannot be seen: the "
    "surrogate and the perturbation were trained for far fewer steps, on far fewer images. ray-ue evaluate measures protection."
)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One image of the source, at most `SIDE` long, and its class or -1."""

    rgb: Pixels
    label: int


def preview(made: Job, *, count: int) -> str:
    """Craft on a sample of the plan's source and write `OUTPUT.preview.html` with `count` images; returns its path.

    Raises `ValueError` for a count that cannot be shown, a place that cannot be written, and whatever the pipeline refuses.
    """
    if not 1 <= count <= MOST:
        raise ValueError(f"--preview shows 1 to {MOST} images, got {count}; 12 fill a page")
    if not made.output.local:
        raise ValueError(f"--preview writes a page beside the output, and {made.output.uri} is no local folder; name one for the preview")
    page = Path(f"{made.output.uri}.preview.html")
    Folder(str(page.parent)).check_writable()
    with TemporaryDirectory(prefix="ray-ue-preview-") as root:
        before, after = Path(root, "before"), Path(root, "after")
        wanted = max(CRAFTED, count)
        names = _lay_out(sample(made.source, count=wanted, limits=made.recipe.limits()), before)
        if len(names) < made.recipe.clusters and requirements_of(made.recipe).groups == "kmeans":
            raise ValueError(f"the preview found {len(names)} usable images for {made.recipe.clusters} clusters; ask for fewer --clusters")
        say(f"  preview  crafting on {len(names)} images; the copy itself is not begun")
        done = protect.run(
            protect.plan(str(before), str(after), recipe=short(made.recipe), resources=Resources(workers="local")), until="export"
        )
        shown = names[:: max(1, len(names) // count)][:count]
        pairs = [_pair(before, after, name, number=number) for number, name in enumerate(shown, 1)]
        _write(page, made, "".join(pairs), done["export"].facts, len(names))
    return str(page)


def short(recipe: Recipe) -> Recipe:
    """The recipe with few steps and on a folder of PNGs; what shapes the look (method, groups, budget, size) stays."""
    steps = min(recipe.steps or STEPS, STEPS) if recipe.method == "uc" else recipe.steps
    # Given embeddings belong to images by their names, which the sample does not keep.
    return replace(recipe, format="folder", embeddings="", ssl_steps=min(recipe.ssl_steps, SSL_STEPS), steps=steps, max_rejected=1.0)


def sample(source: Source, *, count: int, limits: Limits) -> Iterator[Taken]:
    """At most `count` usable images, spread over the source's shards and over the rows of each."""
    shards = [shard for shard in source.shards() if shard.files == () or any(file.is_image for file in shard.files)]
    found = 0
    chosen = shards[:: max(1, len(shards) // count)][:count]
    for left, shard in enumerate(chosen):
        share = -(-(count - found) // (len(chosen) - left))
        for taken in islice(_usable(source, shard, share, limits), share):
            yield taken
            found += 1


def _usable(source: Source, shard: Shard, share: int, limits: Limits) -> Iterator[Taken]:
    rows = source.rows(shard)
    rows = rows.take(list(range(0, len(rows), max(1, len(rows) // max(1, share)))))
    for data, label in zip(source.read(shard, rows), rows["label"].to_pylist()):
        try:
            image = Image.fromarray(decode(data, limits=limits).rgb)
        except Rejected:
            continue
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        yield Taken(rgb=np.asarray(image), label=-1 if label is None else label)


def _lay_out(images: Iterator[Taken], folder: Path) -> list[str]:
    """Write the sample as PNG files, in class folders where there are labels; returns their names."""
    names = []
    for number, taken in enumerate(images):
        path = folder / (f"class-{taken.label:06d}" if taken.label >= 0 else "") / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(Picture(rgb=taken.rgb, alpha=None, exif=b"", icc=b""), format="png"))
        names.append(os.path.relpath(path, folder))
    if not names:
        raise ValueError("the preview found no image that can be used; ray-ue protect … --dry-run says what was looked at")
    return names


def _pair(before: Path, after: Path, name: str, *, number: int) -> str:
    old, new = (decode((folder / name).read_bytes(), limits=Limits(min_side=1)).rgb for folder in (before, after))
    return pair(old, new, about=f"image {number}")


def _write(page: Path, made: Job, pairs: str, exported: dict, crafted: int) -> None:
    asked = {name: value for name, value in asdict(made.recipe).items() if value != getattr(Recipe(), name)}
    told = facts(
        [
            ("method", f"{made.recipe.method}, groups: {requirements_of(made.recipe).groups}"),
            ("budget", str(made.recipe.levels())),
            ("largest change", f"{exported['most_levels']}/255"),
            ("PSNR", f"{exported['psnr_mean']} dB"),
            ("crafted on", f"{crafted} images"),
            ("asked for", ", ".join(f"{name}={value}" for name, value in asked.items()) or "the defaults"),
        ]
    )
    note = f"before, difference times {GAIN} around grey, after; select one to enlarge"
    body = told + figure("preview", f'<div class="pairs">{pairs}</div>', caption=escape(made.source.root), note=note)
    text = document(
        "Preview",
        kind="ray-ue protect --preview",
        told="What a protected copy will look like. Keep this page private: it holds clean images.",
        first="the pictures",
        shown=[("pictures", "Before and after", NOTE, body)],
    )
    draft = page.with_name(f".draft-{page.name}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(page)
