"""The cells of an evaluation's grid: which victim trains on which pixels and labels, and the rows of the results."""

from dataclasses import dataclass, replace
from typing import Any, cast

import ray
import torch

from ray_ue.config.grid import GridCell, grid_cells
from ray_ue.config.recipe import Resources
from ray_ue.engine.devices import assigned_device
from ray_ue.engine.lanes import Lanes, train_all
from ray_ue.engine.machines import Machines
from ray_ue.progress import say
from ray_ue.results.tables import RESULTS
from ray_ue.stages.evaluate.cell import CellJob
from ray_ue.stages.evaluate.copies import ProtectedCopy
from ray_ue.stages.evaluate.data import CopyData, EvaluationData
from ray_ue.stages.evaluate.labels import perturbed_test
from ray_ue.stages.evaluate.pixel_set import PixelSet
from ray_ue.stages.evaluate.times import Load, describe_time, passes_over
from ray_ue.storage.artifacts import Artifact, Folder, finished, opened

WORTH_TIMING = 20_000  # image passes; fewer are done in a minute


def lay_out(
    data: EvaluationData, labels: dict[str, Artifact], relabels: tuple[str, ...], *, parts: tuple[str, ...], home: Folder
) -> list[tuple[GridCell, CellJob | None]]:
    """Every cell of the grid with the job that fills it; None where the labels could not be made. Cells may share a job."""
    sets = [CopyPixelSets.of(data, copied) for copied in data.copies]
    patterned = [number for number, one in enumerate(sets) if one.pattern]
    cells = [cell for cell in grid_cells(data.grid, copies=len(sets), relabels=relabels, patterned=patterned) if cell.data in parts]
    return [
        (cell, cell_job(cell, data, sets[cell.copy], labels[cell.relabel], home=home) if cell.relabel in labels else None) for cell in cells
    ]


def cell_job(cell: GridCell, data: EvaluationData, sets: "CopyPixelSets", labels: Artifact, *, home: Folder) -> CellJob:
    pixels = sets.choose(cell)
    perturbed = sets.perturbed if cell.data == "protected" else None
    return CellJob(
        data=cell.data,
        fraction=cell.fraction,
        victim=cell.victim,
        defense="none" if cell.purified >= 0 else cell.defense,
        seed=cell.seed,
        schedule=data.grid.schedule_for(cell.victim),
        size=data.size,
        flips=data.grid.flips,
        curve_rows=data.grid.curve_rows,
        pixels=pixels,
        clean=sets.clean_like(pixels),
        rows=replace(pixels, column="row"),
        labels=labels.folder,
        classes=labels.facts["classes"],
        labels_sha256=labels.facts["sha256"],
        test=data.test_views.folder,
        test_sha256=data.test_views.facts["sha256"],
        perturbed=perturbed.folder if perturbed else None,
        perturbed_sha256=perturbed.facts["sha256"] if perturbed else "",
        home=home,
        workers=data.clean.run.resources.workers_per_victim(),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class CopyPixelSets:
    """The training rows of one copy in all their forms."""

    clean: PixelSet
    noise: PixelSet
    pattern: PixelSet | None
    protected: PixelSet
    purified: tuple[tuple[PixelSet, PixelSet], ...]  # (purified rows, the same rows clean)
    perturbed: Artifact | None

    @classmethod
    def of(cls, data: EvaluationData, copied: CopyData) -> "CopyPixelSets":
        return cls(
            clean=_pixels(copied.clean, copied.match, "clean"),
            noise=_pixels(copied.noise, copied.match, "clean"),
            pattern=_pixels(copied.pattern, copied.match, "clean") if copied.pattern else None,
            protected=_pixels(copied.protected, copied.match, "copy"),
            purified=tuple((_pixels(views, match, "copy"), _pixels(copied.clean, match, "clean")) for views, match in copied.purified),
            perturbed=perturbed_test(data, copied.copy),
        )

    def choose(self, cell: GridCell) -> PixelSet:
        """The pixel set that a cell trains on; a mixture starts from the protected one."""
        if cell.purified >= 0 and cell.data == "protected":
            return self.purified[cell.purified][0]
        return {"clean": self.clean, "noise": self.noise, "pattern": self.pattern}.get(cell.data) or self.protected

    def clean_like(self, chosen: PixelSet) -> PixelSet:
        """The clean version of the same rows."""
        return next((clean for purified, clean in self.purified if purified == chosen), self.clean)


def _pixels(views: Artifact, match: Artifact, column: str) -> PixelSet:
    """Identified by content, so that equal controls of several copies are one cell."""
    return PixelSet(views=views.folder, match=match.folder, column=column, sha256=f"{views.facts['sha256']}-{match.facts[column]}")


def train_cells(cells: list[tuple[GridCell, CellJob | None]], *, home: Folder, machines: Machines, resources: Resources) -> list[dict]:
    """The facts of every cell, after training the cells that no earlier run has finished."""
    jobs: dict[str, CellJob] = {}
    for _, job in cells:
        if job is not None:
            jobs.setdefault(job.fingerprint(), job)
    known = {name: opened(job.folder).facts for name, job in jobs.items() if finished(job.folder)}
    waiting = [name for name in jobs if name not in known]
    if failed := [jobs[name].folder.uri for name, facts in known.items() if "failed" in facts]:
        say(f" evaluate  {len(failed)} cells failed before and stay so; to try them again remove {failed[0]} and its like")
    tell_time([jobs[name] for name in waiting], machines=machines, resources=resources)
    trained = train_all([jobs[name] for name in waiting], home=home, machines=machines, resources=resources, skipped=len(known))
    facts = known | dict(zip(waiting, trained, strict=True))
    return [facts[job.fingerprint()] if job is not None else {} for _, job in cells]


def tell_time(jobs: list[CellJob], *, machines: Machines, resources: Resources) -> None:
    """Say what the jobs take, timed where a lane would train them, unless they are few."""
    loads = [
        Load(
            victim=job.victim,
            defense=job.defense,
            schedule=job.schedule,
            passes=len(job.pixels.places()) * passes_over(job.victim, job.schedule),
        )
        for job in jobs
    ]
    if sum(load.passes for load in loads) < WORTH_TIMING:
        return
    size = jobs[0].size
    if resources.workers == "local":
        device = assigned_device()
        told = describe_time(loads, size=size, lanes=1, threads=torch.get_num_threads(), device=device)
    else:
        lanes = Lanes.plan(machines, resources, cells=len(jobs))
        device = torch.device("cuda" if lanes.gpus else "cpu")
        timed = cast(Any, ray.remote(num_cpus=1, num_gpus=lanes.gpus))(describe_time)
        told = ray.get(timed.remote(loads, size=size, lanes=lanes.count, threads=lanes.threads, device=device))
    say(f"     time  {told}")


def row_of(
    cell: GridCell,
    copies: list[ProtectedCopy],
    job: CellJob | None,
    facts: dict,
    labels: dict[str, Artifact],
    wrong: dict[str, str],
    agreed: dict[tuple[str, str], tuple[float | None, float | None]],
) -> dict:
    """One line of the results."""
    reason = wrong.get(cell.relabel, "") or facts.get("failed", "")
    copy = copies[cell.copy]
    ami, purity = agreed.get((copy.name, cell.relabel), (None, None))
    row = {name: getattr(cell, name) for name in ("data", "fraction", "victim", "relabel", "defense", "seed")}
    row |= {"copy": copy.name, "status": "failed" if reason else "done", "reason": reason, "ami": ami, "purity": purity}
    row |= {"cell": job.fingerprint() if job else ""}
    if cell.relabel in labels:
        row |= {"chance": labels[cell.relabel].facts["chance"], "classes": labels[cell.relabel].facts["classes"]}
    return row | {name: value for name, value in facts.items() if name in RESULTS.schema.names}
