"""An evaluation on one local Ray: every place filled and beside its controls, nothing trained twice, and honest about what it cannot do."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import photo

from ray_ue import results
from ray_ue.artifacts import Folder
from ray_ue.evaluate import evaluate
from ray_ue.grid import Grid, places
from ray_ue.images import Limits, Picture, decode, encode, look_at, resized
from ray_ue.pipeline import protect
from ray_ue.recipe import Resources

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session", "one_thread")]

CRAFT: dict[str, Any] = {"ssl_steps": 2, "steps": 4, "batch": 16, "clusters": 3, "craft_sample": 40}


def fields(start: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**start, **changes}


GRID: dict[str, Any] = {
    "victims": "linear",
    "relabels": "identity,pseudo:3,random:3",
    "defenses": "none,grayscale,early",
    "seeds": 2,
    "clean_fraction": "0,0.5",
    "epochs": 1,
    "encoder_steps": 2,
}
SMALL = fields(GRID, relabels="identity", defenses="none", seeds=1, clean_fraction="0")
LOCAL = Resources(workers="local")
CLASSES = ("cats", "dogs", "owls")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The lanes' workers compute with one thread on two cores; sums then have one order everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write(root: Path, numbers: range, *, flat: bool = False, side: int = 32) -> Path:
    """Pictures of three classes, which their colours tell apart."""
    for number in numbers:
        path = root / f"{number:03d}.png" if flat else root / CLASSES[number % 3] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rgb = photo(5 * number + number % 3, height=side, width=side)
        path.write_bytes(encode(Picture(rgb=rgb, alpha=None, exif=b"", icc=b""), format="png"))
    return root


@pytest.fixture(scope="module")
def made(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos`, `test`, and the protected copy `out` with its work folder."""
    root = tmp_path_factory.mktemp("evaluated")
    write(root / "photos", range(60))
    write(root / "test", range(100, 130))
    protect(str(root / "photos"), str(root / "out"), resources=LOCAL, **CRAFT)
    return root


@pytest.fixture(scope="module")
def ran(made: Path, one_thread: None) -> Path:
    """The run folder of the whole grid."""
    return run(made, "results", **GRID)


def run(made: Path, name: str, *copies: str, resources: Resources = LOCAL, **asked: Any) -> Path:
    asked.setdefault("test", str(made / "test"))
    found = evaluate(*(copies or (str(made / "out"),)), results=str(made / name), resources=resources, **asked)
    return Path(found.uri)


def table(folder: Path) -> pa.Table:
    return results.read(Folder(str(folder)))


def rows(folder: Path) -> list[dict]:
    return table(folder).to_pylist()


def cells(folder: Path) -> dict[str, int]:
    """When each cell was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("cell-*/manifest.json")}


def test_every_place_of_the_grid_is_filled(ran: Path) -> None:
    found = rows(ran)
    asked = places(Grid(**GRID), copies=1, relabels=("identity", "pseudo:3", "random:3"))
    names = ("data", "fraction", "victim", "relabel", "defense", "seed")
    assert sorted(tuple(row[name] for name in names) for row in found) == sorted(tuple(getattr(p, name) for name in names) for p in asked)
    assert {row["status"] for row in found} == {"done"}, {row["reason"] for row in found}
    assert (ran / "report.html").stat().st_size > 1000
    assert (ran / "results.md").is_file()
    assert not (ran / "ray-train").exists()
    assert not list(ran.glob("cell-*/checkpoint.safetensors"))


def test_every_protected_victim_has_its_controls_and_is_tested_on_perturbed_images(ran: Path) -> None:
    found = rows(ran)
    seen = {tuple(row[name] for name in ("data", "fraction", "victim", "relabel", "defense", "seed")) for row in found}
    for row in found:
        place = tuple(row[name] for name in ("victim", "relabel", "defense", "seed"))
        assert {("clean", 0.0, *place), ("noise", 0.0, *place)} <= seen
        assert (row["perturbed"] is not None) is (row["data"] == "protected")
        assert len(row["curve_perturbed"]) == (1 if row["data"] == "protected" else 0)
        assert row["curve_epoch"] == [1]
        assert row["curve_accuracy"] == [row["accuracy"]], "fewer test rows than are measured after every epoch"
        assert 0 <= row["accuracy"] <= 1
        assert (row["classes"], row["copy"], row["epochs"]) == (3, "out", 1)
        assert row["ami"] is not None
        expected = {"clean-part": 30}.get(row["data"], 60)
        assert row["rows"] == (expected - round(0.1 * expected) if row["defense"] == "early" else expected)
    clean = [row["accuracy"] for row in found if row["data"] == "clean" and row["relabel"] == "identity" and row["defense"] == "none"]
    assert np.mean(clean) > 0.5, "the classes can be told apart"


def test_a_second_call_trains_nothing_and_gives_an_equal_table(made: Path, ran: Path) -> None:
    before, finished = table(ran), cells(ran)
    run(made, "results", **GRID)
    assert cells(ran) == finished
    assert table(ran).equals(before)


def test_another_seed_trains_only_its_own_cells(made: Path, ran: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(ran, made / f"more-{tmp_path.name}"))
    finished, before = cells(mine), {row["cell"] for row in rows(mine)}
    run(made, mine.name, **fields(GRID, seeds=3, defenses="none,grayscale"))
    after = cells(mine)
    assert {name: after[name] for name in finished} == finished
    new = {f"cell-{row['cell']}" for row in rows(mine) if row["seed"] == 2}
    assert set(after) - set(finished) == new
    assert {row["cell"] for row in rows(mine) if row["seed"] < 2} <= before


def test_a_killed_cell_goes_on_from_its_checkpoint(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_ue import exploit
    from ray_ue.stages import cell

    asked = fields(SMALL, epochs=3, victims="plain")
    calm = run(made, f"calm-{tmp_path.name}", **asked)
    monkeypatch.setattr(cell, "EVERY_SECONDS", 0.0)
    follow, seen = exploit.follow, []

    def killed(*given: Any, **named: Any) -> Iterator[Any]:
        for epoch in follow(*given, **named):
            seen.append(epoch.epoch)
            yield epoch
            if epoch.epoch == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(exploit, "follow", killed)
    with pytest.raises(KeyboardInterrupt):
        run(made, f"cut-{tmp_path.name}", **asked)
    assert seen == [1, 2]
    cut = made / f"cut-{tmp_path.name}"
    assert len(list(cut.glob("cell-*/checkpoint.safetensors"))) == 1
    seen.clear()

    def watched(*given: Any, **named: Any) -> Iterator[Any]:
        for epoch in follow(*given, **named):
            seen.append(epoch.epoch)
            yield epoch

    monkeypatch.setattr(exploit, "follow", watched)
    run(made, cut.name, **asked)
    assert seen == [3, 1, 2, 3, 1, 2, 3]
    assert not list(cut.glob("cell-*/checkpoint.safetensors"))
    measured = ("loss", "accuracy", "perturbed", "train", "class_accuracy", "curve_loss", "curve_accuracy", "curve_perturbed")
    exact = [name for name in results.SCHEMA.names if name not in (*measured, "seconds")]
    assert table(there).select(exact).equals(table(here).select(exact))
    for mine, other in zip(rows(there), rows(here), strict=True):  # other numbers of threads add in other orders
        assert mine["loss"] == pytest.approx(other["loss"], rel=0.02)
        assert mine["accuracy"] == pytest.approx(other["accuracy"], abs=0.1)  # 3 of 30 test images
    assert not (there / "ray-train").exists()
