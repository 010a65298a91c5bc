"""`evaluate`: check a request, describe its plan, run it and write its page."""

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from ray_ue.config import victims
from ray_ue.config.grid import AUTO, Grid, GridCell, grid_cells
from ray_ue.config.recipe import AUTOMATIC, Recipe, Resources
from ray_ue.engine.environment import joins_a_cluster, prepare
from ray_ue.models.pretrained import specs
from ray_ue.pipelines.claim import CLAIM, is_copy, work_of
from ray_ue.pipelines.pace import device_here
from ray_ue.pipelines.planning import count, median_side
from ray_ue.pipelines.values import address, checked, split_resources
from ray_ue.sources import open_source
from ray_ue.sources.opening import PATTERN
from ray_ue.stages.evaluate.copies import has_groups, open_copies
from ray_ue.stages.evaluate.job import EvaluationJob
from ray_ue.storage.addresses import real
from ray_ue.storage.artifacts import Folder
from ray_ue.storage.locks import alone

JOINED = ": best and twice the epochs if the cluster has GPUs"
AFTER = ".evaluation"  # after a copy's name: the run folder, where nothing else is asked for


def plan(copies: tuple[str, ...], *, clean: str, test: str, results: str, grid: Grid, format: str, resources: Resources) -> EvaluationJob:
    """Check a request before any long work; a `ValueError` says what was got and what would have worked."""
    if not copies:
        raise ValueError("name at least one protected copy; write for example: ray-ue evaluate photos-protected --test photos-test")
    resources.check()
    if not test.strip():
        raise ValueError("--test is missing: accuracy is measured on clean images that were never published; name a folder of them")
    grid = grid.settled().with_absolute_paths()
    grid.check()
    refuse_wrong_names(grid)
    if grid.purified_folders() and len(copies) > 1:
        raise ValueError(
            f"--purified needs one protected copy, the one that was purified; {len(copies)} are named: evaluate them one by one"
        )
    copies = tuple(Folder.at(uri).uri for uri in copies)
    refuse_swapped(clean=absolute(clean), test=absolute(test))  # before a missing claim asks for --clean
    clean, test = absolute(clean or claimed_source(copies[0])), absolute(test)
    sources = {uri: open_source(uri, format=format) for uri in (*copies, clean, test, *grid.purified_folders())}
    home = Folder.at(results or copies[0] + AFTER)
    refuse_foreign(home)
    refuse_inside(home, (*copies, clean, test, *map(absolute, grid.purified_folders())))
    refuse_swapped(clean=clean, test=test)
    if test in copies:
        raise ValueError(f"--test {test} is the copy itself; name clean images that were never published")
    opened = open_copies(copies)
    return EvaluationJob(
        copies=opened,
        clean=clean,
        test=test,
        grid=grid,
        home=home,
        recipe=reading(grid, format=format),
        resources=resources,
        cells=home,
        pictured=tuple(copy.name for copy in opened),
        sources=sources,
    )


def refuse_trained_on(*, clean: str, test: str) -> None:
    """Test images are not those that victims train on. A check, which holds some of them out, does not ask this."""
    if real(clean) == real(test):
        raise ValueError(f"--test {test} holds the very images that victims train on; name clean images that were never published")


def refuse_swapped(*, clean: str, test: str, source: str = "--clean") -> None:
    """Clean images and test images are no protected copies: an accuracy on them would say nothing."""
    for uri, flag, wanted in (
        (clean, source, "the images that the copy was made from"),
        (test, "--test", "clean images, never published"),
    ):
        if is_copy(uri):
            raise ValueError(f"{flag} {uri} is a protected copy ({work_of(Folder(uri)).uri} lies beside it); name {wanted}")


def reading(grid: Grid, *, format: str) -> Recipe:
    """The recipe that images are read with. Unreadable images are left out, however many: the copy's own run has judged them."""
    return Recipe(format=format, surrogate=grid.encoder, image_size=32, ssl_steps=grid.encoder_steps, max_rejected=1.0)  # type: ignore[arg-type]


def refuse_wrong_names(grid: Grid) -> None:
    """Relabels and defenses that do not exist, and values that they cannot have."""
    from ray_ue.exploiter import relabels  # these bring libraries that take seconds to import
    from ray_ue.exploiter.defenses import registry

    for name in grid.relabel_names(classes=0) if grid.relabels.strip() != "auto" else ():
        relabels.parse(name)
    for name in grid.defense_names():
        registry.parse(name)
    if grid.texts:
        refuse_no_texts(grid.texts)


def absolute(uri: str) -> str:
    return Folder.at(uri).uri if uri.strip() else uri


def refuse_no_texts(text: str) -> None:
    spec = specs.parse(text)
    if spec.kind != "open_clip":
        raise ValueError(f"--texts {text} has no text encoder; write for example open_clip:ViT-B-32/openai or open_clip:ViT-B-32@FILE")
    specs.check(spec)


def claimed_source(copy: str) -> str:
    """The source that a copy made here says it came from."""
    work = work_of(Folder(copy))
    if not work.exists(CLAIM):
        raise ValueError(f"--clean is missing and {work.uri}, which would name the source of {copy}, is not there; name the clean images")
    source = work.read_json(CLAIM)["source"]
    if "://" not in source and not PATTERN.search(source) and not os.path.exists(source):
        raise ValueError(f"{copy} was made from {source}, which is not there any more; name the clean images with --clean")
    return source


def refuse_foreign(home: Folder) -> None:
    """Never write among files that are not an evaluation's."""
    names = home.names()
    ours = ("run.json", "index-", "cell-", "views-")
    if names and not any(name.startswith(ours) for name in names):
        raise ValueError(f"{home.uri} is not empty and holds no evaluation; name a new folder with --results")


def refuse_inside(home: Folder, others: tuple[str, ...]) -> None:
    """Results hold clean images: inside a copy they would be published with it, and read as images of it by the next run."""
    results = real(home.uri)
    for other in others:
        for one, two in ((results, real(other)), (real(other), results)):
            if one == two or one.startswith(two.rstrip("/") + "/"):
                raise ValueError(
                    f"results {home.uri} and images {other} overlap: one contains the other; write the results to a folder of their own"
                )


def describe(job: EvaluationJob, *, nodes: str = "") -> str:
    """The plan of a run, for people; for the nodes that `nodes` describes also where victims train."""
    from ray_ue.pipelines.placement import describe_machines, described_cluster, evaluate_placement

    machines = described_cluster(nodes) if nodes else None
    if machines or not joins_a_cluster():  # what a cluster has that is joined is known when it is joined
        job = job.trained_on(gpus=machines.gpus if machines else device_here(job.resources)[1])
    grid = job.grid
    relabels = grid.relabel_names(classes=10)
    patterned = [number for number, copy in enumerate(job.copies) if has_groups(copy)]
    cells = grid_cells(grid, copies=len(job.copies), relabels=relabels, patterned=patterned)
    sizes = (len(grid.victim_names()), len(relabels), len(grid.defense_names()), grid.seeds)
    schedule = grid.schedule()
    rates = ", ".join(f"{victim} at rate {grid.schedule_for(victim).lr:g}" for victim in grid.victim_names())
    training = f"{AUTO}{JOINED}" if grid.training == AUTO else grid.training
    protected = sum(place.data == "protected" for place in cells)
    lines = [
        f"copies     {', '.join(copy.uri for copy in job.copies)}",
        f"clean      {job.clean}",
        f"test       {job.test}",
        f"results    {job.home.uri}",
        f"grid       {sizes[0]} victims x {sizes[1]} relabels x {sizes[2]} defenses x {sizes[3]} seeds = {prod(sizes)} cells per copy",
        f"           {protected} protected, {len(cells) - protected} controls (one source and budget: all but random patterns shared)",
        f"victims    {rates}; {schedule.epochs} epochs, batch {schedule.batch} (training {training})",
        f"relabels   {', '.join(relabels)}{' (auto, for ten classes)' if grid.relabels.strip() == 'auto' else ''}",
        f"defenses   {', '.join(grid.defense_names())}",
        f"time       {time_line(job, cells)}",
    ]
    if machines:
        placed = [f"{name:9}  {where}" for name, where in evaluate_placement(job.resources, machines, cells=len(cells)).items()]
        lines += [f"nodes      {describe_machines(machines)}", *placed]
    if any(victims.parse_victim(name).how in victims.CONTRASTIVE for name in grid.victim_names()):
        lines.append("note       contrastive victims make no supervised steps: defenses that change steps are marked failed for them")
    return "\n".join(lines)


def time_line(job: EvaluationJob, cells: list[GridCell]) -> str:
    """What the victims take on this machine; a few images are looked at for their size."""
    clean, first = job.source(job.clean), job.copies[0]
    rows, _ = count(clean, clean.shards())
    side = first.resize or int(median_side(clean if first.recipe else job.source(first.uri)))
    return victims_time(cells, job.grid, rows=round(rows * (1 - job.held_out)), side=side, resources=job.resources)


def victims_time(cells: Sequence[GridCell], grid: Grid, *, rows: int, side: int, resources: Resources) -> str:
    """What victims take on this machine, timed now, on `rows` images of the shorter side `side`."""
    from ray_ue.stages.evaluate.data import seen_size
    from ray_ue.stages.evaluate.times import describe_time, loads_of

    loads = loads_of(cells, grid, rows=min(rows, grid.train_rows or rows))
    device, gpus = device_here(resources)
    cores = os.cpu_count() or 1
    lanes = 1 if resources.workers == "local" else max(1, min(len(cells), gpus or cores))
    threads = max(1, cores // lanes)
    return describe_time(loads, size=grid.image_size or seen_size(side), lanes=lanes, threads=threads, device=device)


def run(job: EvaluationJob) -> Folder:
    """Train what is missing of the grid, write the results and the page; returns the run folder."""
    from ray_ue.report import report

    job.home.check_writable()
    prepare()
    # Ray takes seconds to import: a wrong flag must not wait for it.
    from ray_ue.pipelines.evaluate_stages import run_evaluation

    with alone(job.home, what=job.home.uri):
        run_evaluation(job)
        report(job.home)
    return job.home


def evaluate(
    *copies: str | Path,
    test: str | Path,
    clean: str | Path = "",
    results: str | Path = "",
    format: str = "auto",
    resources: Resources = AUTOMATIC,
    **fields: Any,
) -> Folder:
    """Measure what protection is left in one or several copies; calling it again continues. Returns the run folder.

    `fields` are those of `Grid` and `Resources`, as the command line's flags: `evaluate("out", test="test", victims="fast,resnet18")`.
    Lists and values work as well as words: `victims=["fast", "resnet18"]`, `defenses=[Jpeg(10), Jpeg(30) + Cutmix()]`.
    The folder holds `results.parquet` (`ray_ue.results.tables.RESULTS`), `results.md` and `report.html`.
    """
    fields, resources = split_resources(fields, resources)
    grid = Grid(**checked(fields, of=Grid, what="field of an evaluation"))
    uris = tuple(address(copy, "a copy") for copy in copies)
    clean, test, results = (address(*one) for one in ((clean, "clean"), (test, "test"), (results, "results")))
    job = plan(uris, clean=clean, test=test, results=results, grid=grid, format=format, resources=resources)
    refuse_trained_on(clean=job.clean, test=job.test)
    return run(job)
