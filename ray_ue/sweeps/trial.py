"""A trial of a sweep: protects and evaluates one setting; all trials share their controls."""

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
from ray_ue.progress import heard_by
from ray_ue.results import evaluation as results
from ray_ue.results.tables import RESULTS
from ray_ue.stages.evaluate.copies import ProtectedCopy, open_copies
from ray_ue.stages.evaluate.job import EvaluationJob
from ray_ue.storage.artifacts import Artifact, Folder, Manifest, finish, finished, opened
from ray_ue.sweeps.request import CELLS, SHARED, SweepRequest
from ray_ue.sweeps.trial_records import (
    FAILED,
    NOTE,
    PARTIAL,
    STOPPED,
    Noted,
    is_done,
    record_failure,
    trial_fingerprint,
    trial_folder,
    trial_name,
)
from ray_ue.version import ARTIFACT_PACKAGES, installed_versions


def plan_copy(request: SweepRequest, name: str, recipe: Recipe, resources: Resources) -> Job:
    return protect.plan(request.source, request.copy(name), recipe=recipe, resources=resources, shared=SHARED)


def plan_evaluation(request: SweepRequest, copies: list[ProtectedCopy], *, home: Folder, resources: Resources) -> EvaluationJob:
    """The evaluation of `copies` with the grid of the sweep; all evaluations share a folder of cells."""
    return EvaluationJob(
        copies=copies,
        clean=request.source,
        test=request.test,
        grid=request.grid,
        home=home,
        recipe=replace(evaluate.reading(request.grid, format=request.recipe.format), max_pixels=request.recipe.max_pixels),
        resources=resources,
        cells=request.home.child(CELLS),
        pictured=(),
    )


def run_trial(config: dict, *, request: SweepRequest, resources: Resources) -> None:
    """Protect and evaluate one setting, and report to Tune; finished work is not repeated. This process of Tune only waits."""
    name = trial_name(request, config)
    recipe, folder = request.recipes()[name], trial_folder(request, name)
    if is_done(request, name, recipe):
        tune.report(metrics(opened(folder).facts, seeds=request.grid.seeds))
        return
    # A separate task does the work: ray.train.get_context(), which local workers call, fails in a process of Tune, and all work started
    # there would have to fit into the trial's placement group.
    outside = PlacementGroupSchedulingStrategy(placement_group=None)  # type: ignore[arg-type]
    work = ray.remote(num_cpus=0, scheduling_strategy=outside)(protect_and_evaluate)
    for old in (FAILED, STOPPED):
        folder.remove(old)
    facts: dict = {}
    for seeds in range(1, request.grid.seeds + 1) if request.search.stop_early else (request.grid.seeds,):
        outcome: Any = ray.get(work.remote(name, request, seeds, resources))
        if "failed" in outcome:
            record_failure(request, name, outcome["failed"])
            return
        facts = outcome | {"seconds": round(outcome["seconds"] + facts.get("seconds", 0.0), 1)}
        if seeds < request.grid.seeds:
            folder.write_json(PARTIAL, facts)
            tune.report(metrics(facts, seeds=seeds))
    versions = installed_versions(ARTIFACT_PACKAGES)
    finish(folder, Manifest(stage="trial", fingerprint=trial_fingerprint(request, recipe), facts=facts, versions=versions))
    folder.remove(PARTIAL)
    folder.remove(NOTE)
    tune.report(metrics(facts, seeds=request.grid.seeds))


def protect_and_evaluate(name: str, request: SweepRequest, seeds: int, resources: Resources) -> dict:
    """The row of a setting after its first `seeds` victims; {"failed": reason} for errors that a retry cannot fix."""
    began, recipe = time.monotonic(), request.recipes()[name]
    try:
        folder = trial_folder(request, name)
        with heard_by(Noted(folder)):
            copied = protect.run(plan_copy(request, name, recipe, resources), until="export" if folder.exists(PARTIAL) else "verify")
            lines = evaluate_copy(request, name, folder, seeds=seeds, resources=resources)
        row = trial_row(lines, name=name, recipe=recipe, copied=copied, lpips=results.mean_lpips(folder, name))
        return row | {"seconds": round(time.monotonic() - began, 1)}
    except ValueError as error:
        return {"failed": str(error)}


def metrics(facts: dict, *, seeds: int) -> dict:
    return {"seeds": seeds} | {key: value for key, value in facts.items() if isinstance(value, (int, float))}


def evaluate_copy(request: SweepRequest, name: str, folder: Folder, *, seeds: int, resources: Resources) -> list[results.ResultLine]:
    """The lines of a copy with its controls, after training the missing ones of its first `seeds` victims."""
    copies = open_copies((request.copy(name),))
    job = plan_evaluation(request, copies, home=folder, resources=resources)
    run_evaluation(replace(job, grid=replace(request.grid, seeds=seeds)))
    table = RESULTS.read(folder)
    failed = [row for row in table.to_pylist() if row["status"] != "done" and row["cell"]]
    # A cell that is an artifact failed for good; the others only lacked memory or files for a while.
    reasons = [row["reason"] for row in failed if not finished(request.home.child(CELLS).child(f"cell-{row['cell']}"))]
    if reasons:  # without these victims the setting would look better than it is
        raise ValueError(f"{len(reasons)} victims could not be trained: {reasons[0]}")
    return results.summary(table)


def trial_row(lines: list[results.ResultLine], *, name: str, recipe: Recipe, copied: dict[str, Artifact], lpips: float | None) -> dict:
    """The row of a trial: worst case, visibility and cost."""
    headline = results.headline(lines, name)
    if not headline.lines:
        raise ValueError("; ".join(why for why, _ in headline.left_out) or "no victim finished")
    worst, export, craft = headline.worst, copied["export"].facts, copied["craft"].facts
    return {
        "kept": worst.kept,
        "accuracy": worst.protected.mean,
        "spread": worst.protected.spread,
        "n": worst.protected.n,
        "pattern": worst.pattern.mean if worst.pattern.n else None,
        "victim": worst.victim,
        "relabel": worst.relabel,
        "defense": worst.defense,
        "levels": recipe.levels().levels,
        "most": export["most_levels"],
        "psnr": export["psnr_mean"],
        "ssim": export["ssim_mean"],
        "lpips": lpips,
        "passes": craft["passes"],
        "images": export["images"],
    }
