"""The stages of `evaluate` in order: data, labels, figures, victims, results."""

import json
import time
from dataclasses import asdict

from ray_ue.engine.machines import Machines
from ray_ue.engine.session import session
from ray_ue.engine.stage import Run
from ray_ue.exploiter.labels import Known
from ray_ue.progress import say
from ray_ue.results.tables import RESULTS
from ray_ue.stages.evaluate.cells import lay_out, row_of, train_cells
from ray_ue.stages.evaluate.copies import ProtectedCopy, has_patterns
from ray_ue.stages.evaluate.data import EvaluationData, prepare
from ray_ue.stages.evaluate.figures import draw_figures, measure_lpips
from ray_ue.stages.evaluate.job import REQUEST, EvaluationJob
from ray_ue.stages.evaluate.labels import classes_of, cluster_agreement, exploiter_labels, known_labels
from ray_ue.storage.artifacts import Artifact, Folder
from ray_ue.version import ARTIFACT_PACKAGES, installed_versions

LIMITS = [
    "Only the victims, labels and defenses of this grid were tried: an exploiter may find better ones.",
    "Protection is not retroactive: whoever has the clean images can use them.",
    "Where a defense filters images, victims are tested on clean images as they are and on filtered ones, and the better counts.",
    "Purified copies change the training images alone.",
    "The exploiter's superclasses, pseudo-labels and finer labels are made once, from clean images, alike for controls and copies.",
]


def run_evaluation(job: EvaluationJob) -> None:
    """Train what is missing of the grid and write the run folder: cells, `results.parquet`, `run.json`, `looks/`."""
    began = time.monotonic()
    with session(part=job.resources.part) as machines:
        job = job.trained_on(gpus=machines.gpus)
        clean = job.source(job.clean)
        run = Run(source=clean, output=job.cells, work=job.cells, recipe=job.recipe, resources=job.resources, machines=machines)
        data = prepare(job, run)
        relabels = job.grid.relabel_names(classes=classes_of(known := known_labels(data)))
        labels, wrong = label_all(data, known, relabels)
        cells = lay_out(data, labels, relabels, parts=job.parts, home=job.cells)
        for copied in data.copies:
            if copied.copy.name in job.pictured:
                draw_figures(data, copied, home=job.home)
            else:
                measure_lpips(data, copied, home=job.home)
        request = describe(job, data, labels, machines)
        remove_outdated(job.home, request)
        job.home.write_json(REQUEST, request | {"seconds": 0.0})
        facts = train_cells(cells, home=job.home, machines=machines, resources=job.resources)
        agreed = {
            (copied.copy.name, spec): cluster_agreement(data, copied, artifact)
            for copied in data.copies
            for spec, artifact in labels.items()
        }
    rows = [row_of(cell, job.copies, work, result, labels, wrong, agreed) for (cell, work), result in zip(cells, facts, strict=True)]
    RESULTS.write(job.home, rows)
    job.home.write_json(REQUEST, request | {"seconds": round(time.monotonic() - began, 1)})


def remove_outdated(home: Folder, request: dict) -> None:
    """Remove a table of results that another request made: a run that is stopped now must not leave it beside this one. Cells stay."""
    before = home.read_json(REQUEST) if home.exists(REQUEST) else {}
    if any(before.get(name) != value for name, value in json.loads(json.dumps(request)).items() if name not in ("machine", "versions")):
        home.remove(RESULTS.name)


def label_all(data: EvaluationData, known: Known, relabels: tuple[str, ...]) -> tuple[dict[str, Artifact], dict[str, str]]:
    """(labels by relabel, why the others could not be made); a `ValueError` when none could."""
    labels: dict[str, Artifact] = {}
    wrong: dict[str, str] = {}
    for spec in relabels:
        try:
            labels[spec] = exploiter_labels(data, known, spec)
        except ValueError as error:
            wrong[spec] = str(error)
            say(f"  failed   relabel {spec}: {error}")
    if not labels:
        raise ValueError("; ".join(dict.fromkeys(wrong.values())))
    for spec, artifact in labels.items():
        say(f"  labels   {spec}: {artifact.facts['classes']} classes, chance {100 * artifact.facts['chance']:.1f} %")
    return labels, wrong


def describe(job: EvaluationJob, data: EvaluationData, labels: dict[str, Artifact], machines: Machines) -> dict:
    """`run.json`: what was asked, of what, with what."""
    test_rows = data.test_views.facts["rows"]
    return {
        "title": ", ".join(copy.name for copy in job.copies),
        "clean": job.clean,
        "test": job.test,
        "request": job.grid.identity() | {"schedules": {name: asdict(job.grid.schedule_for(name)) for name in job.grid.victim_names()}},
        "machine": machines.facts() | {"device": "gpu" if machines.gpus else "cpu"},
        "versions": installed_versions(ARTIFACT_PACKAGES),
        "digests": {"test": data.test_views.facts["sha256"]},
        "chosen": {
            "train_rows": data.copies[0].match.facts["rows"],
            "test_rows": test_rows,
            "curve_rows": min(job.grid.curve_rows, test_rows),
            "image_size": data.size,
        },
        "relabels": [
            {"spec": spec, "classes": artifact.facts["classes"], "names": artifact.facts["names"], "chance": artifact.facts["chance"]}
            for spec, artifact in labels.items()
        ],
        "copies": [describe_copy(copied.copy, levels=copied.levels) for copied in data.copies],
        "limits": LIMITS,
    }


def describe_copy(copy: ProtectedCopy, *, levels: int) -> dict:
    craft = copy.artifacts.get("craft")
    return {
        "name": copy.name,
        "uri": copy.uri,
        "levels": levels,
        "recipe": asdict(copy.recipe) if copy.recipe else None,
        "grouped": has_patterns(copy),
        "fingerprints": {stage: artifact.fingerprint for stage, artifact in copy.artifacts.items()},
        "facts": copy.artifacts["export"].facts if copy.artifacts else None,
        "craft": {name: craft.facts[name] for name in ("images", "seconds", "reference_images")} if craft else None,
    }
