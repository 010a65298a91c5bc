"""What a run would refuse, found before it: the checks of a dry run, in the order in which a run comes to them."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe
from ray_ue.images.broken import Rejected, remedy
from ray_ue.images.codec import Limits, check_pixels, count_pixels
from ray_ue.models.pretrained import specs
from ray_ue.pipelines.planning import check_room, estimate
from ray_ue.sources import Shard
from ray_ue.stages.protect.rejected import allowed
from ray_ue.storage.artifacts import Folder

PACKED = 8  # shards at most that a dry run reads to count rows
LOOKED_AT = 5000  # images at most, whose headers a dry run reads
PIXELS = 300_000_000  # that it decodes, in the order of the images: some seconds
SHOWN = 3


def rehearse(recipe: Recipe) -> None:
    """Open the method's files, and load a surrogate that brings its own weights: what is wrong is found before any long work."""
    from ray_ue.methods import build

    method = build(recipe.method, asdict(recipe))
    method.validate_inputs(budget=recipe.levels(), side=recipe.side(frozen=method.uses_surrogate), entries=0)
    spec = specs.parse(recipe.surrogate)
    if spec.kind == "ssl":
        return
    import torch

    from ray_ue.models.pretrained.surrogates import load

    load(spec, device=torch.device("cpu"), image_size=recipe.image_size, weights={})


def problems(job: Job) -> Iterator[str]:
    """What would stop this run, a sentence each."""
    checks: tuple[Callable[[], None], ...] = (
        partial(refuse_unwritable, job.output),
        partial(refuse_source, job),
        partial(rehearse, job.recipe),
        partial(refuse_rejected, job),
        partial(refuse_room, job),
    )
    for check in checks:
        try:
            check()
        except ValueError as error:
            yield " ".join(str(error).split())


def refuse_unwritable(output: Folder) -> None:
    """Refuse a local output below a folder in which nothing can be made; it writes nothing to find out."""
    if not output.local:
        return
    existing = next(path for path in (Path(output.uri), *Path(output.uri).parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write to {output.uri}: {existing} is no folder you may write to; name another output")


def refuse_source(job: Job) -> None:
    """Refuse a collection that is too small for its groups, or has no labels for them; large packed ones are found out by the index."""
    from ray_ue.methods.requirements import refuse_rows, requirements_of

    shards = job.source.shards()
    if any(not shard.files for shard in shards) and len(shards) > PACKED:
        return
    labels = [job.source.rows(shard)["label"].fill_null(-1).to_numpy() for shard in shards]
    if (rows := sum(map(len, labels))) < 2 and requirements_of(job.recipe).per != "image":
        raise ValueError(f"there is {rows} image: an image is protected among others of its group, so give 2 or more")
    refuse_rows(job.recipe, np.concatenate(labels).astype(np.int64))


def refuse_rejected(job: Job) -> None:
    """Refuse more unusable images than `max_rejected` allows: of the first `PIXELS` pixels by all that the files hold, else by headers."""
    found, rows, pixels = [], 0, 0
    for shard in job.source.shards():
        if rows >= LOOKED_AT:
            break
        for key, data in images(job, shard):
            reason, area = examined(data, limits=job.recipe.limits(), whole=pixels < PIXELS)
            rows, pixels = rows + 1, pixels + area
            found += [(key, reason)] if reason else []
    if len(found) > allowed(rows, job.recipe.max_rejected) or len(found) == rows:
        named = "; ".join(f"{key}: {reason}" for key, reason in found[:SHOWN])
        raise ValueError(
            f"{len(found):,} of {rows:,} images cannot be used, more than --max-rejected {job.recipe.max_rejected:g} allows "
            f"({named}{'; …' if len(found) > SHOWN else ''}); {'; '.join(sorted({remedy(reason) for _, reason in found}))}"
        )


def images(job: Job, shard: Shard) -> Iterator[tuple[str, bytes]]:
    """Each image of a shard."""
    rows = job.source.rows(shard)
    yield from zip(rows["key"].to_pylist(), job.source.read(shard, rows), strict=True)


def examined(data: bytes, *, limits: Limits, whole: bool) -> tuple[str, int]:
    """(why an image cannot be used, or nothing; its pixels), by its header or by all of it."""
    area = 0
    try:
        area = count_pixels(data, limits=limits)
        if whole:
            check_pixels(data, limits=limits)
    except Rejected as reason:
        return str(reason), area
    return "", area


def refuse_room(job: Job) -> None:
    """Refuse a local output on a disk that cannot hold the copy."""
    if job.output.local:
        check_room(estimate(job.source, recipe=job.recipe), output=job.output)
