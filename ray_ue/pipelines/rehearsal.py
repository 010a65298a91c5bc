"""What a run would refuse, found before it: the checks of a dry run, in the order in which a run comes to them."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe
from ray_ue.engine.environment import prepare
from ray_ue.images.broken import Rejected, remedy
from ray_ue.images.codec import check_pixels, read_size, refuse_side
from ray_ue.images.platforms import shrinking
from ray_ue.models.pretrained import specs
from ray_ue.pipelines.claim import CLAIM
from ray_ue.pipelines.earlier import other_defaults
from ray_ue.pipelines.generations import History, changes, goes_on, has_images, narrowed
from ray_ue.pipelines.planning import refuse_room
from ray_ue.pipelines.standing import Standing, refuse_saved_again
from ray_ue.progress import counted
from ray_ue.sources import Shard
from ray_ue.sources.image_files import LOSSY, kind_of_name
from ray_ue.sources.naming import group, some
from ray_ue.stages.protect.rejected import allowed
from ray_ue.stages.protect.summary import large_line
from ray_ue.storage.artifacts import Folder

JPEG = (
    "--image-format jpeg is lossy: it removes much of the perturbation, so it removes much of the protection, and the budget cannot be "
    "promised for what a reader decodes; use png or webp unless you only want to look at the effect"
)
PACKED = 8  # shards at most that a dry run reads to count rows
LOOKED_AT = 5000  # images at most, whose headers a dry run reads
PIXELS = 300_000_000  # that it decodes, in the order of the images: some seconds


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


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at the first images found: how many there were, which cannot be used and why, and which web sites scale down; and
    what stands already of the copy."""

    rows: int
    unusable: list[tuple[str, str]]
    large: dict
    standing: Standing

    def lines(self, job: Job) -> list[tuple[str, str]]:
        """What a run that goes on would leave out, warn of, and do to the copy that is there."""
        named = f"{counted(len(self.unusable), 'image')} to be left out of the {self.rows:,} looked at ({named_some(self.unusable)})"
        lines = {"rejected": named} if self.unusable else {}
        lines |= {"warning": large_line(self.large, job.recipe)} if self.large["count"] else {}
        lossy = [("warning", JPEG)] if job.recipe.image_format in LOSSY else []
        return [*lossy, *lines.items(), *self.standing.lines(job).items()]


def look(job: Job) -> Look:
    """At the first `LOOKED_AT` images: of the first `PIXELS` pixels at all that the files hold, else at headers."""
    unusable, large, sites, rows, pixels = [], [], set[str](), 0, 0
    for shard in job.source.shards():
        if rows >= LOOKED_AT:
            break
        for key, data in images(job, shard):
            reason, (height, width, frames) = examined(data, recipe=job.recipe, whole=pixels < PIXELS)
            rows, pixels = rows + 1, pixels + height * width * frames
            unusable += [(key, reason)] if reason else []
            shown = (job.recipe.resize, job.recipe.resize) if job.recipe.resize else (height, width)
            if not reason and (found := shrinking(*shown)):
                large.append(key)
                sites |= set(found)
    return Look(rows=rows, unusable=unusable, large=group(large) | {"sites": sorted(sites)}, standing=Standing.of(job))


def named_some(unusable: list[tuple[str, str]]) -> str:
    return some(group([f"{key}: {reason}" for key, reason in unusable]), between="; ")


def problems(job: Job, found: Look) -> Iterator[str]:
    """What would stop this run, a sentence each."""
    checks: tuple[Callable[[], None], ...] = (
        partial(refuse_unwritable, job.output),
        partial(refuse_source, job),
        partial(refuse_strange, job),
        partial(refuse_saved_again, job),
        found.standing.refuse_lost,
        partial(found.standing.refuse_gone, job),
        found.standing.refuse_foreign,
        partial(rehearse, job.recipe),
        partial(refuse_rejected, job.recipe, found),
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
    if goes_on_from(job):  # pictures that join take the groups that are there, however few they are
        return
    if any(not shard.files for shard in shards) and len(shards) > PACKED:
        return
    labels = [job.source.rows(shard)["label"].fill_null(-1).to_numpy() for shard in shards]
    if (rows := sum(map(len, labels))) < 2 and requirements_of(job.recipe).per != "image":
        raise ValueError(f"there is {rows} image: an image is protected among others of its group, so give 2 or more")
    refuse_rows(job.recipe, np.concatenate(labels).astype(np.int64))


def goes_on_from(job: Job) -> bool:
    """Whether a run adds to a copy that is there."""
    if job.anew or not job.work.exists(CLAIM):
        return False
    history = History.of(job)
    if not history.generations:
        return False
    return goes_on(history, changes(job.source, history), anew=job.anew, kept=other_defaults(job, history))


def refuse_strange(job: Job) -> None:
    """Refuse new pictures of classes for which a copy that is there has no pattern."""
    from ray_ue.methods.requirements import requirements_of

    needs = requirements_of(job.recipe)
    if job.anew or not job.work.exists(CLAIM) or needs.groups != "label" or not (needs.per == "group" or needs.method.uses_groups):
        return
    prepare()
    from ray_ue.stages.protect.join import slots_of_classes  # imports Ray, which most plans do not need

    history = History.of(job)
    fresh = changes(job.source, history).fresh if history.generations else ()
    if has_images(job.source, fresh):
        source = narrowed(job.source, fresh, history=history)
        labels = np.concatenate([source.rows(shard)["label"].fill_null(-1).to_numpy() for shard in source.shards()])
        slots_of_classes(labels, source.class_names(), shared=job.shared, groups=history.chains[0]["cluster"])


def refuse_rejected(recipe: Recipe, found: Look) -> None:
    """Refuse more unusable images than `max_rejected` allows."""
    before = frozenset(found.standing.rejected)
    unusable = [(key, reason) for key, reason in found.unusable if key not in before]
    joining = {name for name in found.standing.fresh if kind_of_name(name) == "image"}
    if joining and joining <= {key for key, _ in unusable}:
        return  # no picture joins, and the copy stays as it is
    count = len(unusable)
    if count > allowed(found.rows, recipe.max_rejected) or count == found.rows:
        raise ValueError(
            f"{count:,} of {found.rows:,} images cannot be used, more than --max-rejected {recipe.max_rejected:g} allows "
            f"({named_some(unusable)}); {'; '.join(sorted({remedy(reason) for _, reason in unusable}))}"
        )


def images(job: Job, shard: Shard) -> Iterator[tuple[str, bytes]]:
    """Each image of a shard."""
    rows = job.source.rows(shard)
    yield from zip(rows["key"].to_pylist(), job.source.read(shard, rows), strict=True)


def examined(data: bytes, *, recipe: Recipe, whole: bool) -> tuple[str, tuple[int, int, int]]:
    """(why an image cannot be used, or nothing; its height, width and frames), by its header or by all of it."""
    size, limits = (0, 0, 0), recipe.limits()
    try:
        size = read_size(data, limits=limits)
        if not recipe.resize:
            refuse_side(*size[:2], format=recipe.image_format)
        if whole:
            check_pixels(data, limits=limits)
    except Rejected as reason:
        return str(reason), size
    return "", size
