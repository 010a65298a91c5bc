"""Measure: mutual information between what trained victims make of clean images and of those they were trained on. It finds cells and
streams them; the numbers are made by the core."""

import json
import pickle
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load

from ray_ue.config.recipe import Resources
from ray_ue.config.victims import parse_victim
from ray_ue.engine.devices import assigned_device, own_threads
from ray_ue.engine.session import session, stream
from ray_ue.exploiter.features import layers, rebuild_victim
from ray_ue.grouping.sampling import draw_sample
from ray_ue.information import ETA, Estimator, groupwise
from ray_ue.progress import Progress
from ray_ue.stages.evaluate.labels import open_labels
from ray_ue.stages.evaluate.pixel_set import PixelSet
from ray_ue.stages.evaluate.trained_victims import RunContents, TrainedVictim
from ray_ue.stages.protect.views import open_views
from ray_ue.storage.artifacts import Folder, Manifest, fingerprint, finish, finished, opened
from ray_ue.version import VICTIM_PACKAGES, installed_versions

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Task:
    """One victim and one or several estimates; what is in `identity` makes the fingerprint of one of them."""

    cell: TrainedVictim
    estimators: dict[str, Estimator]
    rows: int
    inner: bool  # besides the last layer, the main blocks

    def identity(self, name: str) -> dict[str, object]:
        settings = asdict(self.estimators[name])  # type: ignore[call-overload]
        return {"cell": self.cell.fingerprint, "estimator": name, "settings": settings, "rows": self.rows, "inner": self.inner, "eta": ETA}

    def fingerprint(self, name: str) -> str:
        return fingerprint("information", version=VERSION, fields=self.identity(name), inputs={})

    def folder(self, name: str) -> Folder:
        return self.cell.home.child(f"information-{self.fingerprint(name)}")


PLACE = ("copy", "data", "victim", "relabel", "seed", "accuracy", "cell")  # columns that a measurement takes over from the results


def measure_runs(
    lines: Mapping[Folder, list[dict]], *, estimators: dict[str, Estimator], rows: int, inner: bool, resources: Resources
) -> list[dict]:
    """The table's rows for the `lines` of each run's results; a victim that stands in several lines or runs is measured once."""
    tasks: dict[str, Task] = {}
    missing: dict[str, str] = {}
    for home, results in lines.items():
        contents = RunContents(home=home)
        for line in results:
            if line["cell"] in tasks:
                continue
            victim = contents.trained(line)
            if isinstance(victim, str):
                missing[line["cell"]] = victim
            else:
                tasks[line["cell"]] = Task(cell=victim, estimators=estimators, rows=rows, inner=inner)
    failed = measure_all(list(tasks.values()), resources=resources)
    table = []
    for home, results in lines.items():
        for line in results:
            place = {name: line[name] for name in PLACE} | {"run": home.uri}
            task = tasks.get(line["cell"])
            table += [place | row for row in (rows_of(task, failed) if task else [{"status": "skipped", "reason": missing[line["cell"]]}])]
    return table


def measure_all(tasks: list[Task], *, resources: Resources) -> dict[str, str]:
    """Write what is missing of every task's artifacts, many victims at a time; returns why cells could not be measured, by fingerprint."""
    waiting = [task for task in map(unfinished, tasks) if task.estimators]
    if resources.workers == "local":  # starts fastest, for few victims
        results = (attempt(task, device=assigned_device()) for task in waiting)
    else:
        results = measure_on_cluster(waiting, resources=resources)
    progress = Progress(stage="measure", total=len(tasks), unit="victims")
    progress.skip(len(tasks) - len(waiting))
    failed: dict[str, str] = {}
    for result in results:
        failed |= {result["cell"]: result["failed"]} if result["failed"] else {}
        progress.add(1)
    progress.close()
    return failed


def unfinished(task: Task) -> Task:
    """The task without the estimates that an earlier run has finished."""
    left = {name: estimator for name, estimator in task.estimators.items() if not finished(task.folder(name))}
    return replace(task, estimators=left)


def measure_on_cluster(tasks: list[Task], *, resources: Resources) -> Iterator[dict]:
    """Through Ray Data: one actor per GPU share, or per core of a machine without GPUs."""
    if not tasks:
        return
    with session() as machines:
        share = resources.gpus_per_victim if machines.gpus else 0.0
        actors = min(len(tasks), max(1, machines.shares(share)) if share else machines.slots())
        threads = machines.hosts().threads(resources, tasks=actors)
        items = [{"task": pickle.dumps(task)} for task in tasks]
        yield from stream(items, work=Measurer, arguments={"threads": threads}, cpus=1, gpus=share, actors=actors, block_bytes=1)


def attempt(task: Task, *, device: torch.device) -> dict:
    """Measure a victim; why it failed, where it alone is to blame: weights that are not at hand, features that are not finite."""
    try:
        measure_cell(task, device=device)
    except ValueError as error:
        return {"cell": task.cell.fingerprint, "failed": " ".join(str(error).split())}
    return {"cell": task.cell.fingerprint, "failed": ""}


class Measurer:
    """Builds nothing before it is asked: every cell has another network."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(own_threads(threads))
        self.device = assigned_device()

    def __call__(self, batch: pa.Table) -> pa.Table:
        tasks = [pickle.loads(item["task"]) for item in batch.to_pylist()]  # noqa: S301 - made by the driver of this run
        return pa.Table.from_pylist([attempt(task, device=self.device) for task in tasks])


def measure_cell(task: Task, *, device: torch.device) -> None:
    """Features once, then one artifact per estimator."""
    cell, began = task.cell, time.monotonic()
    clean, given, groups = pairs(cell, rows=task.rows)
    weights = load(cell.folder.read("net.safetensors"))
    net = rebuild_victim(cell.victim, weights, sample=given, classes=cell.classes, size=cell.size).to(device)
    arch = parse_victim(cell.victim).arch
    before, after = (layers(net, arch, pixels, size=cell.size, inner=task.inner) for pixels in (clean, given))
    tight = {layer: asdict(groupwise(estimate, groups)) for layer, estimate in after.items()}
    for name, estimator in task.estimators.items():
        layer_facts = []
        for layer in after:
            estimate = estimator(before[layer], after[layer], rng=np.random.default_rng(0), device=device)
            numbers = {key: getattr(estimate, key) for key in ("value", "corrected", "stderr", "slices")} | {"rows": estimate.n}
            numbers |= tight[layer]
            layer_facts.append({"layer": layer, **{key: number if isfinite(number) else None for key, number in numbers.items()}})
        facts = {"layers": layer_facts, "seconds": round(time.monotonic() - began, 2)}
        versions = installed_versions(VICTIM_PACKAGES)
        fields = task.identity(name)
        manifest = Manifest(stage="information", fingerprint=task.fingerprint(name), fields=fields, facts=facts, versions=versions)
        finish(task.folder(name), manifest)


def pairs(cell: TrainedVictim, *, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(clean images, the same images as the victim saw them, the exploiter's labels) of a fixed sample of the training rows."""
    places = cell.rows.places()
    chosen = draw_sample(len(places), size=rows, seed=0)
    labels = open_labels(cell.labels)[0][places[chosen]].astype(np.int64)
    return rows_in(cell.clean, chosen), rows_in(cell.pixels, chosen), labels


def rows_in(pixels: PixelSet, rows: np.ndarray) -> np.ndarray:
    return np.array(open_views(pixels.views)[0][pixels.places()[rows]])


def rows_of(task: Task, failed: dict[str, str]) -> Iterator[dict]:
    """What the table says of one victim: per estimator every layer, or why there is nothing."""
    for name in task.estimators:
        settings = json.dumps(task.identity(name)["settings"], sort_keys=True)
        if not finished(task.folder(name)):
            yield {"estimator": name, "settings": settings, "status": "skipped", "reason": failed[task.cell.fingerprint]}
            continue
        row = {"estimator": name, "settings": settings, "fingerprint": task.fingerprint(name), "status": "done", "reason": ""}
        for layer in opened(task.folder(name)).facts["layers"]:
            yield layer | row
