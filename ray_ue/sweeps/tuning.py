"""Tuning: a sweep from its shared beginnings over Ray Tune to the comparison of all its copies. What one trial does is in `trials`."""

import contextlib
import io
import os
import time
from dataclasses import dataclass, replace
from typing import Any

import ray.tune as tune
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.exceptions import RayError
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from ray_ue.config.grid import split_list
from ray_ue.config.recipe import Recipe
from ray_ue.engine.session import Machines, session
from ray_ue.pipelines.evaluate_stages import run_evaluation
from ray_ue.pipelines.protect_stages import run_stages
from ray_ue.progress import Progress, say
from ray_ue.results import evaluation, pareto
from ray_ue.results.tables import RESULTS, TRIALS
from ray_ue.stages.evaluate.copies import ProtectedCopy, open_copies
from ray_ue.storage.artifacts import Folder
from ray_ue.sweeps import space
from ray_ue.sweeps.optuna_searcher import Distinct
from ray_ue.sweeps.request import CELLS, CONTROLS, REQUEST, SweepRequest, alike
from ray_ue.sweeps.trial import evaluated, planned, trial
from ray_ue.sweeps.trial_records import FAILED, PARTIAL, STOPPED, done, fail, identity, rows, stopped, trial_folder
from ray_ue.version import ARTIFACT_PACKAGES, installed_versions

TUNE = "ray-tune"
RETRIES = 2  # of a trial whose process or node died
GOALS = {"kept": "min", "levels": "min"}  # what a searcher weighs: protection left to the exploiter, and visibility


def follow(made: SweepRequest) -> None:
    """Try every setting that no earlier call has finished; write `sweep.parquet` and the evaluation of all copies."""
    began = time.monotonic()
    with session(part=made.resources.part) as machines:
        every = made.recipes()
        waiting = {name: recipe for name, recipe in every.items() if not done(made, name, recipe)}
        if made.search.stop_early:
            waiting = {name: recipe for name, recipe in waiting.items() if not stopped(made, name, recipe)}
        if waiting:
            train_controls(made, waiting)
            if waiting := share_prefixes(made, waiting):
                tune_all(made, waiting, machines)
            made.home.remove(CONTROLS)
        compare(made, [name for name, recipe in every.items() if done(made, name, recipe) and Folder(made.copy(name)).names()])
        TRIALS.write(made.home, rows(made))
        close(made, machines, seconds=time.monotonic() - began)
    if every and not any(row["status"] != "failed" for row in rows(made)):
        raise ValueError(f"every setting failed, the first because: {rows(made)[0]['reason']}")


def close(made: SweepRequest, machines: Machines, *, seconds: float) -> None:
    """Write into the request what it took and where."""
    told = made.home.read_json(REQUEST)
    machine = {"cores": machines.cores, "gpus": machines.gpus, "nodes": machines.nodes}
    versions = installed_versions(ARTIFACT_PACKAGES)
    spent = told.get("spent", 0.0) + seconds
    made.home.write_json(REQUEST, told | {"spent": spent, "seconds": round(spent, 1), "machine": machine, "versions": versions})


def share_prefixes(made: SweepRequest, waiting: dict[str, Recipe]) -> dict[str, Recipe]:
    """Embed and cluster once for all the settings that share it, before they start side by side; returns those that can go on."""
    sound: dict[str, Recipe] = {}
    for first, names in space.prefixes(waiting).items():
        one = planned(made, first, waiting[first], made.resources)
        try:
            run_stages(one, until="cluster")
        except (ValueError, RuntimeError, RayError) as error:
            for name in names:
                fail(made, name, str(error))
        else:
            sound |= {name: waiting[name] for name in names}
    return sound


def train_controls(made: SweepRequest, waiting: dict[str, Recipe]) -> None:
    """Train what all trials compare with: clean rows, and rows with noise at each budget. The source stands in for the copies."""
    copies = [
        ProtectedCopy(name=f"control-{number}", uri=made.source, recipe=recipe) for number, recipe in enumerate(alike(waiting).values())
    ]
    for copy in copies:
        asked = evaluated(made, [copy], home=made.home.child(CONTROLS).child(copy.name), resources=made.resources)
        run_evaluation(replace(asked, parts=("clean", "noise")))
        if not any(line.is_learnable and not line.is_sanity_check for line in evaluation.summary(RESULTS.read(asked.home))):
            raise ValueError(
                "clean images teach none of these victims any of these labels, so nothing could be compared; "
                "ask for more --evaluate.epochs, other victims or other labels"
            )


def tune_all(made: SweepRequest, waiting: dict[str, Recipe], machines: Machines) -> None:
    """Run the trials under Ray Tune. Its own records are not needed to go on: what counts are the folders of the trials."""
    each = int(made.resources.workers) if made.resources.workers.isdigit() else 1
    beside = min(made.search.concurrent or max(1, (machines.gpus or machines.nodes) // each), len(waiting))
    # A process that computes by itself would hold a GPU while the actors that it waits for ask for one.
    workers = "1" if made.resources.workers == "local" and machines.gpus else made.resources.workers
    resources = replace(made.resources, part=made.resources.part / beside, workers=workers)
    home = made.home.child(TUNE)
    if not made.search.loggers.strip():
        home.remove()
    # Tune hides Ctrl+C otherwise, and writes logs that nobody asked for.
    os.environ |= {"TUNE_DISABLE_SIGINT_HANDLER": "1", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    searches = made.search.search == "optuna"
    count = made.search.samples if searches else len(waiting)
    say(f"    sweep  {count} settings, {beside} side by side")
    progress = Progress(stage="sweep", total=count, unit="settings")
    told = tune.TuneConfig(
        num_samples=count if searches else 1,
        max_concurrent_trials=beside,
        search_alg=searcher(made) if searches else None,  # type: ignore[arg-type]
        scheduler=scheduler(made),
    )
    tuner = tune.Tuner(
        # Neither a trial nor its task holds a CPU: on small nodes that would leave none for what they wait for.
        tune.with_resources(tune.with_parameters(trial, made=made, resources=resources), {"memory": 1}),
        param_space={} if searches else {"name": tune.grid_search(list(waiting))},
        tune_config=told,
        run_config=tune.RunConfig(
            name=f"run-{len(home.names())}",
            storage_path=home.path(),
            storage_filesystem=PyFileSystem(FSSpecHandler(home.fs())),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[Watch(made, progress), *loggers(made)],
            verbose=0,
        ),
    )
    with contextlib.redirect_stdout(io.StringIO()):  # Tune prints a box about itself, whatever its verbosity
        tuner.fit()
    progress.close()
    if not made.search.loggers.strip():
        home.remove()


def searcher(made: SweepRequest) -> Distinct:
    return Distinct(made.axes, goals={"kept": "min"} if made.search.stop_early else GOALS, seed=made.recipe.seed, known=known(made))


def known(made: SweepRequest) -> list[space.Point]:
    """Settings that an earlier call finished: a searcher learns from them at once."""
    recipes = made.recipes()
    return [point for point in made.points() if done(made, name := space.name_of(point), recipes[name])]


def scheduler(made: SweepRequest) -> TrialScheduler:
    """After each seed of its victims, ASHA stops the worse half of the settings that got that far."""
    if not made.search.stop_early:
        return FIFOScheduler()
    return ASHAScheduler(time_attr="seeds", metric="kept", mode="min", max_t=max(2, made.grid.seeds), grace_period=1, reduction_factor=2)


def loggers(made: SweepRequest) -> list[tune.Callback]:
    found: list[tune.Callback] = []
    for name in split_list(made.search.loggers):
        if name == "tensorboard":
            from ray.tune.logger.tensorboardx import TBXLoggerCallback

            found.append(TBXLoggerCallback())
        else:
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            found.append(MLflowLoggerCallback(tracking_uri=made.home.child("mlruns").uri, experiment_name="ray-ue"))
    return found


@dataclass
class Watch(tune.Callback):
    """What the driver shows, and why a trial failed, kept in its folder."""

    made: SweepRequest
    progress: Progress

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        running = [str(trial.config.get("name") or space.name_of(trial.config)) for trial in trials if trial.status == "RUNNING"]
        self.progress.add(0, note=", ".join(running[:2]))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        name = trial.config.get("name") or space.name_of(trial.config)
        folder, recipe = trial_folder(self.made, name), self.made.recipes()[name]
        seeds = (trial.last_result or {}).get("seeds", self.made.grid.seeds)
        if seeds < self.made.grid.seeds and folder.exists(PARTIAL) and not folder.exists(FAILED):
            folder.write_json(STOPPED, folder.read_json(PARTIAL) | {"identity": identity(self.made, recipe)})
        self.progress.add(1)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        name = trial.config.get("name") or space.name_of(trial.config)
        error = trial.get_error()
        fail(self.made, name, str(getattr(error, "cause", None) or error or "its process died"))
        self.progress.add(1)


def compare(made: SweepRequest, names: list[str]) -> None:
    """One evaluation of all finished copies: their cells are there, so only its table and page are made."""
    if not names:
        return
    home = made.home.child(CELLS)
    shown = set(pareto.pareto_front([row for row in rows(made) if row["status"] == "done"]))
    asked = evaluated(made, open_copies(tuple(made.copy(name) for name in names)), home=home, resources=made.resources)
    run_evaluation(replace(asked, pictured=tuple(name for name in names if name in shown)))
    from ray_ue.report import report

    report(home)
