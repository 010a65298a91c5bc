"""A trial of a sweep: one setting protected and evaluated, beside controls that all trials share."""

import time
from dataclasses import replace
from typing import Any

import ray
import ray.tune as tune
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.pipelines import evaluate, protect
from ray_ue.pipelines.evaluate_stages import run_evaluation
from ray_ue.results import evaluation as results
from ray_ue.results.tables import RESULTS
from ray_ue.stages.evaluate.copies import ProtectedCopy, open_copies
from ray_ue.stages.evaluate.job import EvaluationJob
from ray_ue.storage.artifacts import Artifact, Folder, Manifest, finish, finished, opened
from ray_ue.sweeps import space
from ray_ue.sweeps.request import CELLS, SHARED, SweepRequest
from ray_ue.sweeps.trial_records import FAILED, PARTIAL, STOPPED, done, fail, identity, trial_folder
from ray_ue.version import ARTIFACT_PACKAGES, installed_versions


def planned(made: SweepRequest, name: str, recipe: Recipe, resources: Resources) -> Job:
    return protect.plan(made.source, made.copy(name), recipe=recipe, resources=resources, shared=SHARED)


def evaluated(made: SweepRequest, copies: list[ProtectedCopy], *, home: Folder, resources: Resources) -> EvaluationJob:
    """The evaluation of `copies` with the sweep's grid; its cells lie with those of all the others."""
    return EvaluationJob(
        copies=copies,
        clean=made.source,
        test=made.test,
        grid=made.grid,
        home=home,
        recipe=replace(evaluate.reading(made.grid, format=made.recipe.format), max_pixels=made.recipe.max_pixels),
        resources=resources,
        cells=made.home.child(CELLS),
        pictured=(),
    )


def trial(config: dict, *, made: SweepRequest, resources: Resources) -> None:
    """One setting, in a process of Tune's that only waits: protect, evaluate seed by seed, report. Nothing finished is done again."""
    name = config.get("name") or space.name_of({axis: config[axis] for axis in made.axes})
    recipe, folder = made.recipes()[name], trial_folder(made, name)
    if done(made, name, recipe):
        tune.report(metrics(opened(folder).facts, seeds=made.grid.seeds))
        return
    # A task of its own does the work: ray.train.get_context(), which local workers call, refuses in Tune's process, and everything started
    # there would have to fit into the trial's placement group.
    outside = PlacementGroupSchedulingStrategy(placement_group=None)  # type: ignore[arg-type]
    work = ray.remote(num_cpus=0, scheduling_strategy=outside)(attempt)
    for old in (FAILED, STOPPED):
        folder.remove(old)
    facts: dict = {}
    for seeds in range(1, made.grid.seeds + 1) if made.search.stop_early else (made.grid.seeds,):
        found: Any = ray.get(work.remote(name, made, seeds, resources))
        if "failed" in found:
            fail(made, name, found["failed"])
            return
        facts = found | {"seconds": round(found["seconds"] + facts.get("seconds", 0.0), 1)}
        if seeds < made.grid.seeds:
            folder.write_json(PARTIAL, facts)
            tune.report(metrics(facts, seeds=seeds))
    versions = installed_versions(ARTIFACT_PACKAGES)
    finish(folder, Manifest(stage="trial", fingerprint=identity(made, recipe), facts=facts, versions=versions))
    folder.remove(PARTIAL)
    tune.report(metrics(facts, seeds=made.grid.seeds))


def attempt(name: str, made: SweepRequest, seeds: int, resources: Resources) -> dict:
    """The row of a setting after its first `seeds` victims; {"failed": reason} for what trying again would not help."""
    began, recipe = time.monotonic(), made.recipes()[name]
    try:
        folder = trial_folder(made, name)
        copied = protect.run(planned(made, name, recipe, resources), until="export" if folder.exists(PARTIAL) else "verify")
        lines = measured(made, name, folder, seeds=seeds, resources=resources)
        return score(lines, name=name, recipe=recipe, copied=copied) | {"seconds": round(time.monotonic() - began, 1)}
    except ValueError as error:
        return {"failed": str(error)}


def metrics(facts: dict, *, seeds: int) -> dict:
    return {"seeds": seeds} | {key: value for key, value in facts.items() if isinstance(value, (int, float))}


def measured(made: SweepRequest, name: str, folder: Folder, *, seeds: int, resources: Resources) -> list[results.ResultLine]:
    """The lines of this copy beside its controls, after training what is missing of its first `seeds` victims."""
    copies = open_copies((made.copy(name),))
    asked = evaluated(made, copies, home=folder, resources=resources)
    run_evaluation(replace(asked, grid=replace(made.grid, seeds=seeds)))
    table = RESULTS.read(folder)
    lost = [row["reason"] for row in table.to_pylist() if row["status"] != "done" and row["cell"] and not kept(made, row["cell"])]
    if lost:  # without them the setting would look better than it is
        raise ValueError(f"{len(lost)} victims could not be trained this time: {lost[0]}")
    return results.summary(table)


def kept(made: SweepRequest, cell: str) -> bool:
    """Whether a cell's failure is its result, and not a passing want of memory or files."""
    return finished(made.home.child(CELLS).child(f"cell-{cell}"))


def score(lines: list[results.ResultLine], *, name: str, recipe: Recipe, copied: dict[str, Artifact]) -> dict:
    """The row of a trial: its worst case, what can be seen of it, and what it cost."""
    found = results.headline(lines, name)
    if not found.lines:
        raise ValueError("; ".join(why for why, _ in found.left_out) or "no victim finished")
    worst, export, craft = found.worst, copied["export"].facts, copied["craft"].facts
    return {
        "kept": worst.kept,
        "accuracy": worst.protected.mean,
        "spread": worst.protected.spread,
        "n": worst.protected.n,
        "victim": worst.victim,
        "relabel": worst.relabel,
        "defense": worst.defense,
        "levels": recipe.levels().levels,
        "most": export["most_levels"],
        "psnr": export["psnr_mean"],
        "ssim": export["ssim_mean"],
        "passes": craft["passes"],
        "images": export["images"],
    }
