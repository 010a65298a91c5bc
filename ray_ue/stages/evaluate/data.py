"""The images of an evaluation: clean rows, their controls, protected and test rows at one size."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache

import numpy as np
import pyarrow as pa

from ray_ue.config.grid import Grid
from ray_ue.engine.stage import Run, stage
from ray_ue.images.codec import Limits
from ray_ue.images.quality import deviation
from ray_ue.progress import say
from ray_ue.stages.evaluate.copies import ProtectedCopy, has_groups, has_patterns, open_copy, slots_by_name
from ray_ue.stages.evaluate.job import EvaluationJob
from ray_ue.stages.evaluate.pairing import Pairs, keys_of, pair
from ray_ue.stages.evaluate.preprocessing import ControlView, PatternView, Preprocessing
from ray_ue.stages.evaluate.rows import match, refuse_published, refuse_shared, sampled, split, without_shared
from ray_ue.stages.evaluate.sources import Ids, IndexedSource
from ray_ue.stages.protect.views import open_views
from ray_ue.storage.artifacts import Artifact, Folder

SMALL = 64  # images up to this side are seen as they are
MEASURED = 64  # pairs from which the budget of a foreign copy is read


@dataclass(frozen=True, kw_only=True, eq=False)
class CopyData:
    """One copy with its controls: `protected`, `clean`, `noise` and `pattern` are views, `match` says which of their rows belong together.

    `pattern` is None where the groups of the clean rows are unknown, or where the copy has none.
    `purified` holds, for each purified version of the copy, its views and its match.
    """

    copy: ProtectedCopy
    source: IndexedSource
    pairs: Pairs
    levels: int
    clean: Artifact
    noise: Artifact
    pattern: Artifact | None
    protected: Artifact
    match: Artifact
    purified: tuple[tuple[Artifact, Artifact], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationData:
    """What an evaluation trains and tests on. Labels are made for the clean rows `ids`, which can all be read; victims see `size`."""

    grid: Grid
    clean: IndexedSource
    test: IndexedSource
    size: int
    ids: Ids
    wanted_test: Ids
    test_views: Artifact
    copies: tuple[CopyData, ...] = ()
    held_out: bool = False  # whether the test rows are rows of the clean source

    @property
    def canvas(self) -> int:
        return canvas_of(self.size)

    def knows_clusters_of(self, copy: ProtectedCopy) -> bool:
        """Whether the copy has clusters that are known for these very clean rows: it was made here, from this listing."""
        return has_groups(copy) and copy.artifacts["index"].fingerprint == self.clean.index.fingerprint


Control = Callable[[Preprocessing, int], Artifact]  # a path and a noise level -> views of the clean rows


def prepare(job: EvaluationJob, run: Run) -> EvaluationData:
    """List the sources and make every pixel set; a `ValueError` for images that do not suit each other."""
    clean, test = (IndexedSource.of(run, job.source(address)) for address in (job.clean, job.test))
    listed = [IndexedSource.of(run, job.source(copy.uri)) for copy in job.copies]
    size = job.grid.image_size or published_size(job.copies[0], clean=clean, copied=listed[0])
    canvas, limits = canvas_of(size), run.recipe.limits()
    wanted, wanted_test = split(job, clean.rows) if job.held_out else sampled(job, clean.rows, test.rows)

    @cache
    def control(path: Preprocessing, levels: int) -> Artifact:
        view = ControlView(path=path, levels=levels, seed=0)
        identity = {"control": view.identity()}
        return clean.views(wanted, view=view, canvas=canvas, identity=identity, name="noise" if levels else "clean")

    unchanged = as_published(canvas, limits=limits)
    test_views = test.views(wanted_test, view=unchanged, canvas=canvas, identity={"plain": True}, name="test")
    if job.held_out and len(left := without_shared(control(unchanged.path, 0), test_views)) < len(wanted_test):
        say(f"  warning  {len(wanted_test) - len(left)} held-out images are left out: they cannot be read, or are training images as well")
        wanted_test, test_views = left, test.views(left, view=unchanged, canvas=canvas, identity={"plain": True}, name="test")
    refuse_shared(control(unchanged.path, 0), test_views)
    ids = open_views(control(preprocessing(job.copies[0], canvas=canvas, limits=limits), 0).folder)[1]
    data = EvaluationData(
        grid=job.grid,
        clean=clean,
        test=test,
        size=size,
        ids=ids,
        wanted_test=wanted_test,
        test_views=test_views,
        held_out=bool(job.held_out),
    )
    copies = tuple(copy_data(job, data, copy, source, wanted, control=control) for copy, source in zip(job.copies, listed))
    return replace(data, copies=copies)


def copy_data(
    job: EvaluationJob, data: EvaluationData, copy: ProtectedCopy, source: IndexedSource, wanted: Ids, *, control: Control
) -> CopyData:
    """A copy's pixel sets, and those of its purified versions."""
    clean, canvas, ids = data.clean, data.canvas, data.ids
    pairs = wanted_pairs(copy, source, clean, wanted)
    levels = copy.recipe.levels().levels if copy.recipe else measured_levels(copy, source, clean, pairs)
    path = preprocessing(copy, canvas=canvas, limits=clean.run.recipe.limits())
    protected = published_views(copy, source, pairs, canvas=canvas)
    refuse_published(protected, data.test_views, uri=copy.uri)
    purified = []
    for number, address in enumerate(job.grid.purified_folders()):
        version = open_copy(Folder.at(address).uri, name=f"purified-{number}")
        listed = IndexedSource.of(clean.run, job.source(address))
        paired = wanted_pairs(version, listed, clean, wanted)
        views = published_views(version, listed, paired, canvas=canvas)
        purified.append((views, match(version, listed, paired, clean=control(path, 0), copied=views, ids=ids)))
    return CopyData(
        copy=copy,
        source=source,
        pairs=pairs,
        levels=levels,
        clean=control(path, 0),
        noise=control(path, levels),
        pattern=pattern_views(data, copy, path, wanted),
        protected=protected,
        match=match(copy, source, pairs, clean=control(path, 0), copied=protected, ids=ids),
        purified=tuple(purified),
    )


def pattern_views(data: EvaluationData, copy: ProtectedCopy, path: Preprocessing, wanted: Ids) -> Artifact | None:
    """The clean rows with a random pattern for each group of the copy, with the copy's energy; None where the groups are unknown."""
    groups = copy.artifacts["cluster"] if data.knows_clusters_of(copy) else groups_by_name(data.clean, copy)
    if groups is None or not (strength := energy(copy)):
        return None
    view = PatternView(path=path, groups=groups.folder, levels=strength, seed=0)
    identity = {"pattern": {"path": asdict(path), "groups": groups.fingerprint, "levels": strength, "seed": 0}}
    return data.clean.views(wanted, view=view, canvas=data.canvas, identity=identity, name="pattern")


def groups_by_name(clean: IndexedSource, copy: ProtectedCopy) -> Artifact | None:
    """`slots.parquet`: the group of every clean row that the copy's ledgers name, -1 for others; None for a copy without groups."""
    if not has_patterns(copy):
        return None
    inputs = {f"export-{number}": export for number, export in enumerate(copy.exports)} | {"index": clean.index}

    def build(folder: Folder) -> dict:
        slot_of = slots_by_name(copy)
        slots = np.array([slot_of.get(key, -1) for key in keys_of(clean.index)], np.int32)
        folder.write_table("slots.parquet", pa.table({"slot": slots}))
        return {"rows": len(slots), "named": int((slots >= 0).sum())}

    return stage(clean.run, "groups", version=1, fields={"by": "name"}, inputs=inputs, build=build)


def energy(copy: ProtectedCopy) -> int:
    """The root mean square of the copy's changes in levels, from the PSNR that its first export measured; 0 if that is unknown."""
    psnr = copy.exports[0].facts.get("psnr_mean")
    return max(1, round(255 / 10 ** (psnr / 20))) if psnr else 0


def published_size(copy: ProtectedCopy, *, clean: IndexedSource, copied: IndexedSource) -> int:
    """The side at which victims see images: the published ones' own, up to a limit."""
    source = clean if copy.recipe else copied  # a copy made here has its source's sizes, or the one it was asked for
    first = np.arange(min(16, source.rows))
    sides = [min(rgb.shape[:2]) for rgb in source.images(first) if rgb is not None]
    if not sides:
        raise ValueError(f"none of the first images of {source.address} can be read")
    middle = copy.resize or int(np.median(sides))
    return seen_size(middle)


def seen_size(side: int) -> int:
    """The side at which victims see images of this shorter side."""
    return side if side <= SMALL else 224


def canvas_of(size: int) -> int:
    """The side of a stored view: UC's victims crop 224 out of 256; small images are stored whole."""
    return size if size <= SMALL else round(size * 256 / 224)


def preprocessing(copy: ProtectedCopy, *, canvas: int, limits: Limits) -> Preprocessing:
    """What the copy does to an image apart from the perturbation."""
    return Preprocessing(canvas=canvas, limits=limits, resize=copy.resize, image_format=copy.image_format)


def as_published(canvas: int, *, limits: Limits) -> ControlView:
    """No change on the way: decoded whole as the controls are, where `look` would let a JPEG file scale itself down."""
    return ControlView(path=Preprocessing(canvas=canvas, limits=limits, resize=0, image_format="png"), levels=0, seed=0)


def published_views(copy: ProtectedCopy, source: IndexedSource, pairs: Pairs, *, canvas: int) -> Artifact:
    """The copy's own images."""
    view = as_published(canvas, limits=source.run.recipe.limits())
    return source.views(np.sort(pairs.copy), view=view, canvas=canvas, identity={"copy": copy.identity()}, name="copy")


def wanted_pairs(copy: ProtectedCopy, source: IndexedSource, clean: IndexedSource, wanted: Ids) -> Pairs:
    """The copy's rows among the wanted ones, and their originals."""
    pairs = pair(clean.index, source.index, copy)
    chosen = np.isin(pairs.clean, wanted)
    return replace(pairs, clean=pairs.clean[chosen], copy=pairs.copy[chosen])


def measured_levels(copy: ProtectedCopy, source: IndexedSource, clean: IndexedSource, pairs: Pairs) -> int:
    """The budget of a copy from elsewhere, as some of its rows show it."""
    some = np.linspace(0, len(pairs.clean) - 1, min(MEASURED, len(pairs.clean))).astype(int)
    before, after = clean.images(pairs.clean[some]), source.images(pairs.copy[some])
    changes = [deviation(a, b) for a, b in zip(before, after) if a is not None and b is not None and a.shape == b.shape]
    if not changes:
        raise ValueError(f"{copy.uri} has other image sizes than the clean source and no work folder, so its budget is unknown")
    say(f"    noise  {copy.name} changes its images by up to {max(changes)} levels (read off {len(changes)} of them)")
    return max(1, min(127, max(changes)))
