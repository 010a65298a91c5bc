"""Running a sweep: shared stages and controls, trials under Ray Tune, and the evaluation of all copies."""

import contextlib
import io
import math
import os
import time
from dataclasses import dataclass, replace
from typing import Any

import ray.tune as tune
from ray.exceptions import RayError
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from ray_ue.config.grid import split_list
from ray_ue.config.recipe import Recipe
from ray_ue.engine.errors import find_user_error
from ray_ue.engine.machines import Machines
from ray_ue.engine.session import session
from ray_ue.engine.train_loop import records_in
from ray_ue.pipelines.evaluate_stages import run_evaluation
from ray_ue.pipelines.growth import run_stages
from ray_ue.progress import Progress, say
from ray_ue.results import evaluation, pareto
from ray_ue.results.tables import RESULTS, TRIALS
from ray_ue.stages.evaluate.copies import ProtectedCopy, open_copies
from ray_ue.storage.artifacts import Folder
from ray_ue.sweeps import space
from ray_ue.sweeps.optuna_searcher import DistinctSearcher
from ray_ue.sweeps.request import CELLS, CONTROLS, REQUEST, SweepRequest, recipes_by_control
from ray_ue.sweeps.trial import plan_copy, plan_evaluation, run_trial
from ray_ue.sweeps.trial_records import (
    FAILED,
    NOTED,
    PARTIAL,
    is_done,
    is_stopped,
    note_of,
    record_failure,
    record_stop,
    trial_folder,
    trial_name,
    trial_rows,
)
from ray_ue.version import ARTIFACT_PACKAGES, installed_versions

TUNE = "ray-tune"
RETRIES = 2  # retries of a trial whose process or node died
GOALS = {"kept": "min", "levels": "min"}  # the objectives of a searcher


def run_sweep(request: SweepRequest) -> None:
    """Try every setting that no earlier call has finished; write `sweep.parquet` and the evaluation of all copies."""
    began = time.monotonic()
    with session(part=request.resources.part) as machines:
        recipes = request.recipes()
        waiting = {name: recipe for name, recipe in recipes.items() if not is_done(request, name, recipe)}
        if request.search.stop_early:
            waiting = {name: recipe for name, recipe in waiting.items() if not is_stopped(request, name, recipe)}
        if waiting:
            train_controls(request, waiting)
            if waiting := share_stages(request, waiting):
                tune_all(request, waiting, machines)
            request.home.remove(CONTROLS)
        copied = [name for name, recipe in recipes.items() if is_done(request, name, recipe) and Folder(request.copy(name)).names()]
        evaluate_all(request, copied)
        rows = trial_rows(request)
        TRIALS.write(request.home, rows)
        record_cost(request, machines, seconds=time.monotonic() - began)
    if rows and all(row["status"] == "failed" for row in rows):
        raise ValueError(f"every setting failed, the first because: {rows[0]['reason']}")


def record_cost(request: SweepRequest, machines: Machines, *, seconds: float) -> None:
    """Add the time, the machines and the versions to the stored request."""
    stored = request.home.read_json(REQUEST)
    versions = installed_versions(ARTIFACT_PACKAGES)
    spent = stored.get("spent", 0.0) + seconds
    request.home.write_json(
        REQUEST, stored | {"spent": spent, "seconds": round(spent, 1), "machine": machines.facts(), "versions": versions}
    )


def share_stages(request: SweepRequest, waiting: dict[str, Recipe]) -> dict[str, Recipe]:
    """Embed and cluster once for all settings that share these stages; returns the settings for which this worked."""
    prepared: dict[str, Recipe] = {}
    for first, names in space.group_by_shared_stages(waiting).items():
        job = plan_copy(request, first, waiting[first], request.resources)
        try:
            run_stages(job, until="cluster")
        except (ValueError, RuntimeError, RayError) as error:
            for name in names:
                record_failure(request, name, str(find_user_error(error) or error))
        else:
            prepared |= {name: waiting[name] for name in names}
    return prepared


def train_controls(request: SweepRequest, waiting: dict[str, Recipe]) -> None:
    """Train the controls of all trials: victims on clean rows, and on rows with noise at each budget. The source serves as copy."""
    copies = [
        ProtectedCopy(name=f"control-{number}", uri=request.source, recipe=recipe)
        for number, recipe in enumerate(recipes_by_control(waiting).values())
    ]
    for copy in copies:
        job = plan_evaluation(request, [copy], home=request.home.child(CONTROLS).child(copy.name), resources=request.resources)
        run_evaluation(replace(job, parts=("clean", "noise")))
        if not any(line.is_learnable and not line.is_sanity_check for line in evaluation.summary(RESULTS.read(job.home))):
            raise ValueError(
                "no victim learns any of these labels from clean images, so trials cannot be compared; "
                "use more --evaluate.epochs, other victims or other labels"
            )


def tune_all(request: SweepRequest, waiting: dict[str, Recipe], machines: Machines) -> None:
    """Run the trials under Ray Tune. A sweep continues from the folders of its trials, not from the records of Tune."""
    gpus_per_trial = int(request.resources.workers) if request.resources.workers.isdigit() else 1
    concurrent = min(request.search.concurrent or max(1, (machines.gpus or len(machines.nodes)) // gpus_per_trial), len(waiting))
    # A local worker would hold a GPU while the actors that it waits for request one.
    workers = "1" if request.resources.workers == "local" and machines.gpus else request.resources.workers
    resources = replace(request.resources, part=request.resources.part / concurrent, workers=workers)
    home = request.home.child(TUNE)
    if not request.search.loggers.strip():
        home.remove()
    # Otherwise Tune would catch Ctrl+C and write extra logs.
    os.environ |= {"TUNE_DISABLE_SIGINT_HANDLER": "1", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    searches = request.search.search == "optuna"
    count = request.search.samples if searches else len(waiting)
    say(f"    sweep  {count} settings, {concurrent} at a time")
    progress = Progress(stage="sweep", total=count, unit="settings")
    config = tune.TuneConfig(
        num_samples=count if searches else 1,
        max_concurrent_trials=concurrent,
        search_alg=make_searcher(request) if searches else None,  # type: ignore[arg-type]
        scheduler=make_scheduler(request),
    )
    tuner = tune.Tuner(
        # A trial and its task hold no CPU, as small nodes would have none left for the work.
        tune.with_resources(tune.with_parameters(run_trial, request=request, resources=resources), {"memory": 1}),
        param_space={} if searches else {"name": tune.grid_search(list(waiting))},
        tune_config=config,
        run_config=tune.RunConfig(
            name=f"run-{len(home.names())}",
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[ProgressCallback(request, progress), *make_loggers(request)],
            verbose=0,
            **records_in(home),
        ),
    )
    with contextlib.redirect_stdout(io.StringIO()):  # Tune prints a box at any verbosity
        tuner.fit()
    progress.close()
    if not request.search.loggers.strip():
        home.remove()


def make_searcher(request: SweepRequest) -> DistinctSearcher:
    recipes = request.recipes()
    return DistinctSearcher(
        request.axes,
        goals={"kept": "min"} if request.search.stop_early else GOALS,
        seed=request.recipe.seed,
        known=[point for point in request.points() if is_done(request, name := space.point_name(point), recipes[name])],
    )


def make_scheduler(request: SweepRequest) -> TrialScheduler:
    """With --stop-early, ASHA stops the worse half of the settings after each seed."""
    if not request.search.stop_early:
        return FIFOScheduler()
    return ASHAScheduler(time_attr="seeds", metric="kept", mode="min", max_t=max(2, request.grid.seeds), grace_period=1, reduction_factor=2)


def make_loggers(request: SweepRequest) -> list[tune.Callback]:
    callbacks: list[tune.Callback] = []
    for name in split_list(request.search.loggers):
        if name == "tensorboard":
            from ray.tune.logger.tensorboardx import TBXLoggerCallback

            callbacks.append(TBXLoggerCallback())
        else:
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            callbacks.append(MLflowLoggerCallback(tracking_uri=request.home.child("mlruns").uri, experiment_name="ray-ue"))
    return callbacks


@dataclass
class ProgressCallback(tune.Callback):
    """Shows progress, and stores why a trial stopped or failed in its folder."""

    request: SweepRequest
    progress: Progress
    read: float = -math.inf  # when the trials' notes were last read

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        if time.monotonic() - self.read < NOTED:
            return
        self.read = time.monotonic()
        running = [trial_name(self.request, trial.config) for trial in trials if trial.status == "RUNNING"]
        told = [": ".join(filter(None, (name, note_of(trial_folder(self.request, name))))) for name in running[:2]]
        self.progress.add(0, note=", ".join(told))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        name = trial_name(self.request, trial.config)
        folder, seeds = trial_folder(self.request, name), (trial.last_result or {}).get("seeds", self.request.grid.seeds)
        if seeds < self.request.grid.seeds and folder.exists(PARTIAL) and not folder.exists(FAILED):
            record_stop(self.request, name)
        self.progress.add(1)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        name = trial_name(self.request, trial.config)
        error = trial.get_error()
        record_failure(self.request, name, str(find_user_error(error) or getattr(error, "cause", None) or error or "its process died"))
        self.progress.add(1)


def evaluate_all(request: SweepRequest, names: list[str]) -> None:
    """Evaluate all finished copies together; their victims exist, so this only writes a table and a page."""
    if not names:
        return
    home = request.home.child(CELLS)
    on_front = set(pareto.pareto_front([row for row in trial_rows(request) if row["status"] == "done"]))
    job = plan_evaluation(request, open_copies(tuple(request.copy(name) for name in names)), home=home, resources=request.resources)
    run_evaluation(replace(job, pictured=tuple(name for name in names if name in on_front)))
    from ray_ue.report import report

    report(home)
