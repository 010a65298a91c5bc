"""Every job file runs as it is submitted, on toy data with the smallest settings: later flags win over those of its recipe."""

import json
import runpy
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import write_classes, write_photos

from ray_ue.images.codec import Limits, decode
from ray_ue.storage.artifacts import Folder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

JOBS = Path(__file__).parents[2] / "jobs"
LOCAL = ["--workers", "local"]
TOY = [
    *LOCAL,
    "--method",
    "uc",
    "--surrogate",
    "ssl:small",
    "--image-size",
    "32",
    "--ssl-steps",
    "2",
    "--steps",
    "3",
    "--batch",
    "12",
    "--clusters",
    "3",
    "--craft-sample",
    "40",
]
VICTIM = [
    "--victims",
    "linear",
    "--training",
    "fast",
    "--relabels",
    "identity",
    "--defenses",
    "none",
    "--seeds",
    "1",
    "--epochs",
    "1",
    *LOCAL,
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` and `test`: pictures of three classes."""
    root = tmp_path_factory.mktemp("jobs")
    write_photos(root / "photos")
    write_classes(root / "test", range(100, 118))
    return root


def run(monkeypatch: pytest.MonkeyPatch, job: str, *words: str | Path) -> int:
    """The exit code of `python jobs/JOB WORDS`, run in this process, which Ray is connected to."""
    monkeypatch.setattr(sys, "argv", [str(JOBS / job), *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(JOBS / job), run_name="__main__")
    assert isinstance(stop.value.code, int)
    return stop.value.code


def flags(copy: Path) -> dict:
    """The recipe that a copy was made with."""
    return json.loads(Path(f"{copy}.ray-ue", "claim.json").read_text())["flags"]


def sides(copy: Path, suffix: str) -> set[tuple[int, ...]]:
    return {decode(path.read_bytes(), limits=Limits()).rgb.shape for path in copy.rglob(f"*{suffix}")}


def test_every_job_is_run_here() -> None:
    source = Path(__file__).read_text()
    assert [path.name for path in sorted(JOBS.glob("*.py")) if f'"{path.name}"' not in source] == []


def test_smoke_names_its_nodes_and_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "smoke.py", tmp_path / "place", *LOCAL) == 0
    told = capfd.readouterr().out
    assert "sees 24 of 24 pictures, ray-ue" in told
    assert "verified        all 24 images read back" in told
    assert told.strip().endswith("the cluster works")
    assert len(Folder.at(str(tmp_path / "place" / "copy")).names()) == 24


def test_smoke_fails_where_a_node_does_not_see_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "foreign.png").write_text("a file that only some nodes see")
    assert run(monkeypatch, "smoke.py", tmp_path, *LOCAL) == 1
    assert f"{tmp_path} is not the same folder on every node" in capfd.readouterr().out
    assert not (tmp_path / "copy").exists()


def test_protect_and_evaluate_take_the_verbs_flags(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy"
    assert run(monkeypatch, "protect.py", world / "photos", copy, *TOY) == 0
    assert len([path for path in copy.rglob("*") if path.is_file()]) == 61, "60 pictures and their captions"
    assert run(monkeypatch, "evaluate.py", copy, "--clean", world / "photos", "--test", world / "test", *VICTIM) == 0
    assert {row["data"] for row in pq.read_table(f"{copy}.evaluation/results.parquet").to_pylist()} == {
        "clean",
        "noise",
        "pattern",
        "protected",
    }
    assert run(monkeypatch, "protect.py", world / "nowhere", tmp_path / "other") == 2


def test_uc_clip_keeps_its_recipe_where_nothing_else_is_asked(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy"
    assert run(monkeypatch, "uc_clip_imagenet.py", world / "photos", copy, *TOY, "--resize", "40") == 0
    made = flags(copy)
    assert (made["surrogate"], made["steps"], made["parameterization"], made["budget"]) == ("ssl:small", 3, "generator", "16/255")
    assert sides(copy, ".webp") == {(40, 40, 3)}


def test_mi_ue_keeps_its_recipe_where_nothing_else_is_asked(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy"
    small = ["--image-size", "32", "--resize", "32", "--settings", "network=mlp2,epochs=2,steps=2,batch=20,poison_batch=30"]
    assert run(monkeypatch, "mi_ue_imagenet100.py", world / "photos", copy, *small, *LOCAL) == 0
    made = flags(copy)
    assert (made["method"], made["groups"], made["budget"]) == ("mi-ue", "label", "8/255")
    assert sides(copy, ".webp") == {(32, 32, 3)}


def test_baselines_are_made_one_by_one_and_evaluated_together(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [world / "photos", tmp_path / "out", "--test", world / "test", "--methods", "lsp,ops", *LOCAL, "--", *VICTIM]
    assert run(monkeypatch, "baselines_cifar10.py", *words) == 0
    assert flags(tmp_path / "out" / "lsp")["groups"] == "label"
    rows = pq.read_table(tmp_path / "out" / "evaluation" / "results.parquet").to_pylist()
    assert len([row for row in rows if row["data"] == "protected"]) == 2
    assert run(monkeypatch, "baselines_cifar10.py", *words[:-1], "--victims", "linearr") == 2
    made = runpy.run_path(str(JOBS / "baselines_cifar10.py"), run_name="read")
    assert {"em", "tap", "rem", "sem", "tue", "gue", "lsp", "ar", "ops", "cuda"} <= set(made["BASELINES"])


def test_a_sweep_counts_its_settings(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [world / "photos", tmp_path / "sweep", "--test", world / "test", "--dry-run"]
    assert run(monkeypatch, "sweep_uc.py", *words) == 0
    told = capsys.readouterr().out
    assert "settings   12 of 12" in told
    assert "identity, super:5, pseudo:10; none\nseeds      3\n" in told
    assert run(monkeypatch, "sweep_uc.py", *words, "--vary", "clusters=2,3", "--evaluate.seeds", "1") == 0
    told = capsys.readouterr().out
    assert "settings   2 of 2" in told
    assert "seeds      1\n" in told
    assert not (tmp_path / "sweep").exists()
