"""What a result is named by is what was recorded: the fingerprints of stages, cells, measurements and trials, on any machine."""

from dataclasses import asdict, astuple
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.comparing import compare, digest

from ray_ue import Grid, Measurement, Recipe, Resources
from ray_ue.config.grid import grid_cells
from ray_ue.config.recipe import FIELDS
from ray_ue.config.schedules import SCHEDULES
from ray_ue.engine import stage
from ray_ue.engine.machines import Machines
from ray_ue.methods import METHODS, build
from ray_ue.methods.requirements import requirements_of
from ray_ue.pipelines.protect_stages import stages_of
from ray_ue.sources import open_source
from ray_ue.stages.evaluate.cell import CellJob
from ray_ue.stages.evaluate.measure import Task
from ray_ue.stages.evaluate.pixel_set import PixelSet
from ray_ue.stages.evaluate.trained_victims import TrainedVictim
from ray_ue.storage.artifacts import Artifact, Folder, Manifest
from ray_ue.sweeps.request import plan
from ray_ue.sweeps.search import Search
from ray_ue.sweeps.trial_records import trial_fingerprint

WITH_FILES = ("given", "concept")
FACTS = {"rows": 60, "asked": 60, "of": 60, "canvas": 32, "rejected": 0, "most": 16}


def stated(**changes: Any) -> Recipe:
    """A recipe with the defaults of the day when its fingerprint was recorded."""
    return Recipe(**({"method": "uc", "surrogate": "ssl:small", "image_size": 32, "clusters": 10} | changes))


RECIPES = {
    "defaults": stated(),
    **{f"per {name}": stated(method=name, per="group") for name in METHODS if name not in WITH_FILES},
    **{f"{name} by label": stated(method=name, groups="label") for name in METHODS if name not in WITH_FILES},
    "clusters": stated(clusters=5),
    "also": stated(method="mi-ue", clusters=5, also_clusters="10,20"),
    "restarts": stated(restarts=2, fit_sample=1000),
    "budget": stated(budget="8/255"),
    "budget in words": stated(budget="low"),
    "aim": stated(aim="farthest"),
    "seed": stated(seed=3),
    "surrogate": stated(surrogate="ssl:resnet18", image_size=64, ssl_steps=50),
    "given weights": stated(surrogate="torchvision:resnet50/IMAGENET1K_V2"),
    "clip": stated(surrogate="open_clip:RN50/openai"),
    "generator": stated(parameterization="generator", data_scope="all", loss="cosine", augment="after"),
    "flags": stated(steps=7, batch=12, learning_rate=0.25),
    "settings": stated(method="mi-ue", settings="epochs=3,network=fast,zeta=0.5"),
    "frozen": stated(method="mi-ue", settings="source=frozen"),
    "copy": stated(resize=24, image_format="webp", max_pixels=5000, craft_sample=40, max_rejected=0.5),
    "per image": stated(per="image", craft_sample=40),
    "per group": stated(method="tap", per="group"),
}
GRID = Grid(victims="fast,simclr:small,mlp2", relabels="identity,pseudo:3", seeds=2, clean_fraction="0,0.5", epochs=2, encoder="ssl:plain")
AT = Folder("/nowhere")
PIXELS = PixelSet(views=AT, match=AT, column="rows", sha256="a" * 64)
SEARCHES = (
    Search(vary=("budget=8,16", "clusters=5,10")),
    Search(vary=("method=mi-ue,em", "settings.network=fast"), search="random", samples=1),
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sixty files of which only names and sizes are looked at."""
    for number in range(60):
        file = tmp_path / "photos" / ("cats", "dogs", "owls")[number % 3] / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * (100 + number))
    return tmp_path / "photos"


@pytest.fixture
def _nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every artifact is there already, under whatever name is asked for."""

    def opened(folder: Folder) -> Artifact:
        kind, _, name = Path(folder.uri).name.rpartition("-")
        return Artifact(folder=folder, manifest=Manifest(stage=kind, fingerprint=name, facts=FACTS, fields={"per": "group"}))

    monkeypatch.setattr(stage, "finished", lambda folder: True)
    monkeypatch.setattr(stage, "opened", opened)


def stages(source: Path, home: Path, recipe: Recipe) -> dict[str, str]:
    """The fingerprint of every stage before the verification."""
    work = Folder.at(str(home / "out.ray-ue"))
    machines = Machines.one(cpus=1)
    told: dict[str, Any] = {
        "output": Folder.at(str(home / "out")),
        "work": work,
        "recipe": recipe,
        "resources": Resources(),
    }
    artifacts: dict[str, Artifact] = {}
    for name, made in stages_of(stage.Run(source=open_source(str(source)), machines=machines, **told)):
        artifacts |= made
        if name == "export":
            break
    return {name: artifact.fingerprint for name, artifact in artifacts.items()}


@pytest.mark.usefixtures("_nothing_is_built")
def test_stages(source: Path, tmp_path: Path) -> None:
    bank, concepts = tmp_path / "bank.npy", tmp_path / "concepts.txt"
    np.save(bank, np.ones((60, 3, 32, 32), np.int8))
    concepts.write_text("cat\ndog\nowl\ncar\nbus\nvan\n")
    files = {
        "given": stated(method="given", settings=f"file={bank}"),
        "concept": stated(method="concept", surrogate="open_clip:RN50/openai", settings=f"concepts={concepts}"),
    }
    every = {name: stages(source, tmp_path, asked) for name, asked in (RECIPES | files).items()}
    compare("stages", {f"{name}: {kind}": value for name, made in every.items() for kind, value in made.items()})


def test_recipes() -> None:
    values = {}
    for name, recipe in RECIPES.items():
        needs = requirements_of(recipe)
        told = [needs.per, needs.groups, needs.embeds, needs.surrogate, dict(needs.method.identity())]
        values[name] = digest([recipe.values(FIELDS), told])
    for name in METHODS.keys() - set(WITH_FILES):
        values[f"settings of {name}"] = digest(build(name, {}).identity())
    compare("recipes", values)


def job(number: int, victim: str, data: str) -> CellJob:
    """A cell of the grid; only what it is made from counts, not where that lies."""
    pixels, clean, rows = (PixelSet(views=AT, match=AT, column="rows", sha256=letter * 64) for letter in "abc")
    told: dict[str, Any] = {
        "victim": victim,
        "data": data,
        "fraction": 0.5 * (data == "clean-part"),
        "defense": ("none", "jpeg:10")[number % 2],
    }
    told |= {"seed": number, "schedule": GRID.schedule_for(victim), "size": 32, "flips": GRID.flips, "curve_rows": 1000, "classes": 3}
    shas: dict[str, Any] = {"labels_sha256": "d" * 64, "test_sha256": "e" * 64, "perturbed_sha256": "f" * 64}
    return CellJob(pixels=pixels, clean=clean, rows=rows, labels=AT, test=AT, perturbed=AT, home=AT, **told, **shas)


def test_cells_and_measurements() -> None:
    asked = list(product(GRID.victim_names(), ("protected", "clean", "noise", "clean-part")))
    cells = {f"{victim} {data}": job(number, victim, data) for number, (victim, data) in enumerate(asked)}
    values = {name: cell.fingerprint() for name, cell in cells.items()}
    estimators = Measurement(estimators="histogram,knn,kde,mine", slices=4).chosen()
    at: dict[str, Any] = {"folder": AT, "home": AT, "labels": AT, "pixels": PIXELS, "clean": PIXELS, "rows": PIXELS}
    cell = TrainedVictim(victim="fast", size=32, classes=3, fingerprint="0" * 16, **at)
    task = Task(cell=cell, estimators=estimators, rows=1000, inner=True)
    values |= {f"information by {name}": task.fingerprint(name) for name in estimators}
    values |= {f"schedule {name}": digest(asdict(schedule)) for name, schedule in SCHEDULES.items()}
    values["places"] = digest([list(astuple(place)) for place in grid_cells(GRID, copies=2, relabels=GRID.relabel_names(classes=10))])
    compare("cells", values)


def test_trials(source: Path, tmp_path: Path) -> None:
    values = {}
    for search in SEARCHES:
        asked: dict[str, Any] = {"recipe": stated(ssl_steps=2), "grid": GRID, "search": search, "resources": Resources()}
        made = plan(str(source), str(tmp_path / "sweep"), test=str(source / "cats"), **asked)
        values |= {name: trial_fingerprint(made, recipe) for name, recipe in made.recipes().items()}
    compare("trials", values)
