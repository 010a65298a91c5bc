"""A sweep on one local Ray: shared work is made once, nothing is done twice, and a lost process or setting takes no other with it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import write_classes
from shared_work import UC

from ray_ue.config.grid import Grid
from ray_ue.config.recipe import AUTOMATIC, Recipe, Resources
from ray_ue.pipelines import perturbations, protect
from ray_ue.results import evaluation, pareto
from ray_ue.results.tables import RESULTS, TRIALS
from ray_ue.storage.artifacts import Folder
from ray_ue.sweeps import request, run, search

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

LOCAL = Resources(workers="local")
GRID = Grid(victims="linear", relabels="identity,pseudo:3", defenses="none", seeds=2, epochs=1, encoder="ssl:plain", encoder_steps=2)
SMALL: dict[str, Any] = UC | {"craft_sample": 40, "clusters": 10}
ONE = replace(GRID, relabels="identity", seeds=1)
VARY = ("budget=8,16",)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos` and `test`."""
    root = tmp_path_factory.mktemp("swept")
    write_classes(root / "photos", range(60))
    write_classes(root / "test", range(100, 130))
    return root


def sweep(root: Path, name: str, *, vary: tuple[str, ...] = VARY, grid: Grid = GRID, **asked: Any) -> Path:
    found = run.sweep(
        str(root / "photos"), str(root / name), test=str(root / "test"), vary=vary, evaluate=grid, resources=LOCAL, **(SMALL | asked)
    )
    return Path(found.uri)


def rows(folder: Path) -> list[dict]:
    return TRIALS.read(Folder(str(folder))).to_pylist()


def made_when(folder: Path) -> dict[str, int]:
    """When each artifact was finished."""
    kinds = ("work/*", "trials/*", "evaluation/cell-*", "copies/*.ray-ue/*")
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for kind in kinds for path in folder.glob(f"{kind}/manifest.json")}


@pytest.fixture(scope="module")
def swept(photos: Path, ray_session: None) -> Path:
    return sweep(photos, "swept")


def test_every_setting_is_a_copy_with_a_worst_case(swept: Path) -> None:
    found = rows(swept)
    assert [json.loads(row["point"]) for row in found] == [{"budget": "8"}, {"budget": "16"}]
    assert {row["status"] for row in found} == {"done"}, {row["reason"] for row in found}
    for row in found:
        assert 0 < row["most"] <= row["levels"] == int(json.loads(row["point"])["budget"])
        assert (row["n"], row["images"]) == (2, 60)
        assert row["kept"] >= 0
    assert pareto.pareto_front(found)
    assert "budget" in (swept / "report.html").read_text()
    assert not (swept / "ray-tune").exists()


def test_what_settings_share_is_made_once(swept: Path) -> None:
    kinds = [path.name.rpartition("-")[0] for path in (swept / "work").iterdir()]
    assert sorted(kinds) == ["cluster", "embed", "index", "sample", "surrogate"]
    assert len(list((swept / "copies").glob("*.ray-ue/craft-*"))) == 2
    # Victims: clean 2 labels x 2 seeds, noise the same at two budgets, random patterns and protected the same for two copies.
    assert len(list((swept / "evaluation").glob("cell-*"))) == 4 + 8 + 8 + 8


def test_the_table_beside_controls_is_that_of_one_evaluation(swept: Path) -> None:
    lines = evaluation.summary(RESULTS.read(Folder(str(swept / "evaluation"))))
    for row in rows(swept):
        worst = evaluation.headline(lines, row["name"]).worst
        assert (row["kept"], row["accuracy"], row["relabel"]) == (worst.kept, worst.protected.mean, worst.relabel)
        assert row["pattern"] == worst.pattern.mean


def test_a_chosen_copy_stands_on_its_own(swept: Path, tmp_path: Path) -> None:
    copy = swept / "copies" / "budget-8"
    assert sorted(path.name for path in copy.iterdir()) == ["cats", "dogs", "owls"]
    made = protect.reopen(str(copy), resources=LOCAL)
    assert protect.run(made, until="verify")["export"].facts["images"] == 60
    told = perturbations.take_perturbations(str(copy), str(tmp_path / "deltas.npy"), unit="levels")
    assert told.startswith("10 perturbations of up to 8 levels")
    claim = Path(f"{copy}.ray-ue/claim.json").read_bytes()
    with pytest.raises(ValueError, match="is a copy of the sweep whose work lies in"):
        protect.plan(made.source.address, str(copy), recipe=made.recipe, resources=LOCAL)
    assert Path(f"{copy}.ray-ue/claim.json").read_bytes() == claim


def test_the_same_call_does_nothing_again_also_after_a_move(swept: Path, photos: Path) -> None:
    before, table = made_when(swept), rows(swept)
    assert sweep(photos, "swept") == swept
    assert made_when(swept) == before
    moved = swept.with_name("moved")
    swept.rename(moved)
    try:
        run.run(request.reopen(str(moved), resources=LOCAL))
        assert made_when(moved) == before
        assert rows(moved) == table
    finally:
        moved.rename(swept)


def test_more_values_join_a_sweep_and_another_base_is_refused(swept: Path, photos: Path) -> None:
    plain: dict[str, Any] = {"test": str(photos / "test"), "grid": GRID, "resources": LOCAL}
    other: dict[str, Any] = plain | {"test": str(shutil.copytree(photos / "test", photos / "test again"))}
    joined = request.plan(str(photos / "photos"), str(swept), recipe=base(), search=request.Search(vary=("budget=8,16,24",)), **plain)
    assert len(joined.recipes()) == 3
    with pytest.raises(ValueError, match="another base: recipe: seed: 0 -> 1"):
        request.plan(str(photos / "photos"), str(swept), recipe=base(seed=1), search=request.Search(vary=VARY), **plain)
    with pytest.raises(ValueError, match="another test"):
        request.plan(str(photos / "photos"), str(swept), recipe=base(), search=request.Search(vary=VARY), **other)


def base(**changes: Any) -> Recipe:
    return Recipe(**(SMALL | changes))


@pytest.mark.long
def test_a_setting_that_cannot_work_takes_no_other_with_it(photos: Path) -> None:
    found = {row["name"]: row for row in rows(sweep(photos, "failing", vary=("clusters=3,59000",), grid=ONE))}
    assert found["clusters-3"]["status"] == "done"
    assert found["clusters-59000"]["status"] == "failed"
    assert "59000" in found["clusters-59000"]["reason"]


@pytest.mark.long
def test_optuna_tries_different_settings_and_goes_on(photos: Path) -> None:
    asked: dict[str, Any] = {"vary": ("clusters=2,3", "aim=shift,random", "budget=4,8"), "grid": ONE, "search": "optuna"}
    first = sweep(photos, "searched", samples=2, **asked)
    before = {row["name"]: row["fingerprint"] for row in rows(first)}
    assert len(before) == 2
    after = {row["name"]: row["fingerprint"] for row in rows(sweep(photos, "searched", samples=4, **asked))}
    assert len(after) == 4
    assert before.items() <= after.items()


@pytest.mark.long
def test_an_object_store_holds_a_sweep_with_its_evaluation_and_page(swept: Path, photos: Path, store: str) -> None:
    asked: dict[str, Any] = {"test": f"{store}/swept-test", "vary": VARY, "evaluate": GRID, "resources": LOCAL}
    for name in ("photos", "test"):
        Folder(f"{store}/swept-{name}").fs().put(f"{photos / name}", f"{store.removeprefix('s3://')}/swept-{name}", recursive=True)
    home = run.sweep(f"{store}/swept-photos", f"{store}/swept", **asked, **SMALL)
    alike = ("name", "status", "kept", "accuracy", "levels", "most", "psnr")
    there = TRIALS.read(home).to_pylist()
    assert [[row[name] for name in alike] for row in there] == [[row[name] for name in alike] for row in rows(swept)]
    assert b"budget" in home.read("report.html")
    assert home.child("copies/budget-8/cats").names()


@pytest.mark.long
def test_loggers_get_every_setting(photos: Path) -> None:
    home = sweep(photos, "logged", grid=ONE, loggers="tensorboard")
    written = [path for path in (home / "ray-tune").rglob("events.out.tfevents.*") if path.stat().st_size > 500]
    assert len(written) == 2


@pytest.mark.long
def test_weak_settings_stop_early_and_say_so(photos: Path) -> None:
    grid = replace(ONE, seeds=3)
    found = rows(sweep(photos, "early", vary=("budget=24,16,8,4,2",), grid=grid, stop_early=True))
    assert {row["status"] for row in found} <= {"done", "stopped"}
    done, stopped = ([row for row in found if row["status"] == status] for status in ("done", "stopped"))
    assert done
    assert all(row["n"] == 3 for row in done)
    assert all(row["n"] < 3 and "after" in row["reason"] for row in stopped)
    best = min(row["kept"] for row in done)
    assert all(row["kept"] >= best for row in stopped if row["n"] == 1) or not stopped


@pytest.mark.long
def test_a_killed_sweep_goes_on_and_ends_in_the_same_table(swept: Path, photos: Path) -> None:
    home = photos / "killed"
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    flags += [
        f"--evaluate.{name.replace('_', '-')}={getattr(GRID, name)}"
        for name in ("victims", "relabels", "defenses", "seeds", "epochs", "encoder")
    ]
    flags += [f"--evaluate.encoder-steps={GRID.encoder_steps}", "--vary", VARY[0], "--workers=local"]
    words = [sys.executable, "-m", "ray_ue", "sweep", str(photos / "photos"), str(home), "--test", str(photos / "test"), *flags]
    # A Ray of its own, in a process group of its own.
    surroundings = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with open(photos / "killed.log", "w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=surroundings, start_new_session=True)
        deadline = time.monotonic() + 300
        while not list(home.glob("trials/*/manifest.json")):
            assert process.poll() is None, (photos / "killed.log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    home = home.rename(photos / "killed-and-moved")
    before = made_when(home)
    assert any(name.startswith("trials/") for name in before)
    run.run(request.reopen(str(home), resources=LOCAL))
    after = made_when(home)
    assert {name: after[name] for name in before} == before
    alike = ("name", "status", "kept", "accuracy", "levels", "most", "psnr", "fingerprint")
    assert [[row[name] for name in alike] for row in rows(home)] == [[row[name] for name in alike] for row in rows(swept)]


def test_mlflow_needs_a_local_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "refuse_absent", lambda package, *, flag: None)
    asked: dict[str, Any] = {"test": str(photos / "test"), "grid": GRID, "resources": AUTOMATIC, "recipe": base()}
    with pytest.raises(ValueError, match="needs a local folder, and s3://bucket/sweep is none"):
        request.plan(str(photos / "photos"), "s3://bucket/sweep", search=request.Search(vary=VARY, loggers="mlflow"), **asked)


def test_perturbations_per_image_are_counted_once_for_each_setting(photos: Path) -> None:
    def work(**changes: Any) -> float:
        asked: dict[str, Any] = {"test": str(photos / "test"), "grid": GRID, "resources": AUTOMATIC}
        made = request.plan(str(photos / "photos"), str(photos / "p"), recipe=base(**changes), search=request.Search(vary=VARY), **asked)
        return request.estimate_disk(made)[2]

    tap = {"method": "tap", "groups": "label", "steps": 0, "craft_sample": 60}
    assert work(**tap) - work(per="group", **tap) == 2 * 60 * 32**2 * 3 + 2 * 2 * 60 * 32**2 * 3, "a bank each, and a table"


def test_a_plan_names_what_a_sweep_will_cost(photos: Path) -> None:
    made = request.plan(
        str(photos / "photos"),
        str(photos / "planned"),
        test=str(photos / "test"),
        recipe=base(),
        grid=GRID,
        search=request.Search(vary=VARY),
        resources=AUTOMATIC,
    )
    told = request.describe(made)
    assert "2 of 2 (grid)" in told
    assert "at most 1 embedding with" in told
    assert "8 on copies, and 20 controls (2 budgets, random patterns for 2)" in told
    assert not (photos / "planned").exists()
