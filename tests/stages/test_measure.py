"""Measuring a finished evaluation: every undefended victim beside its originals, once, and honest about what it cannot measure."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import photo

from ray_ue.cli.main import main
from ray_ue.config.recipe import Resources
from ray_ue.exploiter.features import layers, rebuild_victim
from ray_ue.images.codec import Limits, Picture, decode, encode
from ray_ue.pipelines.evaluate import evaluate
from ray_ue.pipelines.measure import measure
from ray_ue.results import information
from ray_ue.results.tables import INFORMATION, RESULTS
from ray_ue.storage.artifacts import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

LOCAL = Resources(workers="local")
CLASSES = ("cats", "dogs", "owls")
GRID: dict[str, Any] = {
    "victims": "linear,mlp2", "relabels": "identity", "defenses": "none,grayscale", "seeds": 2, "clean_fraction": "0", "epochs": 1,
}  # fmt: skip
FEW: dict[str, Any] = {"estimators": "histogram,knn", "slices": 4, "layers": True}


def fields(start: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**start, **changes}


def write(root: Path, numbers: range, *, change: int = 0) -> Path:
    """Pictures of three classes; `change` levels are added to or taken from every value, alike for one number."""
    for number in numbers:
        path = root / CLASSES[number % 3] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        sign = np.random.default_rng(number).choice([-change, change], (32, 32, 3))
        rgb = np.clip(photo(5 * number + number % 3).astype(int) + sign, 0, 255).astype(np.uint8)
        path.write_bytes(encode(Picture(rgb=rgb, alpha=None, exif=b"", icc=b""), format="png"))
    return root


@pytest.fixture(scope="module")
def made(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos`, `test`, and two copies from elsewhere of which the second lacks a picture."""
    root = tmp_path_factory.mktemp("measured")
    write(root / "photos", range(60))
    write(root / "test", range(100, 130))
    write(root / "strong", range(60), change=16)
    write(root / "weak", range(1, 60), change=4)
    return root


@pytest.fixture(scope="module")
def ran(made: Path) -> Path:
    found = evaluate(
        str(made / "strong"), str(made / "weak"), clean=str(made / "photos"), test=str(made / "test"), results=str(made / "run"),
        resources=LOCAL, **GRID,
    )  # fmt: skip
    measure(found.uri, **FEW)  # under Ray Data; the other tests measure in this process
    return Path(found.uri)


def rows(folder: Path) -> list[dict]:
    return INFORMATION.read(Folder(str(folder))).to_pylist()


def finished(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("information-*/manifest.json")}


def test_every_undefended_victim_is_measured_at_every_layer(ran: Path) -> None:
    found = rows(ran)
    asked = [row for row in RESULTS.read(Folder(str(ran))).to_pylist() if row["defense"] == "none"]
    names = ("copy", "data", "victim", "relabel", "seed", "cell", "accuracy")
    wanted = {
        (*(row[name] for name in names), layer, estimator)
        for row in asked
        for layer in (("penultimate",) if row["victim"] == "linear" else ("block1", "penultimate"))
        for estimator in ("histogram", "knn")
    }
    assert {(*(row[name] for name in names), row["layer"], row["estimator"]) for row in found} == wanted
    assert len(found) == len(wanted)
    for row in found:
        assert (row["status"], row["slices"]) == ("done", 4)
        assert row["rows"] == (59 if row["copy"] == "weak" else 60)
        assert np.isfinite([row[name] for name in ("value", "stderr", "logdet", "intra", "inter")]).all()
        assert (row["corrected"] is not None) == (row["estimator"] == "histogram")
        assert json.loads(row["settings"])["slices"] == 4


def test_the_pairs_are_the_images_that_the_victim_saw_and_their_originals(made: Path, ran: Path) -> None:
    """By hand, from the files of the copies: the same number as through the run folder."""
    from safetensors.torch import load

    from ray_ue.information import Histogram

    for copy, numbers in (("strong", range(60)), ("weak", range(1, 60))):
        names = sorted(f"{CLASSES[number % 3]}/{number:03d}.png" for number in numbers)
        clean, given = (
            np.stack([decode((made / where / name).read_bytes(), limits=Limits()).rgb for name in names]) for where in ("photos", copy)
        )
        (row,) = [
            row for row in rows(ran)
            if (row["copy"], row["data"], row["victim"], row["seed"], row["layer"], row["estimator"])
            == (copy, "protected", "mlp2", 1, "penultimate", "histogram")
        ]  # fmt: skip
        weights = load((ran / f"cell-{row['cell']}" / "net.safetensors").read_bytes())
        net = rebuild_victim("mlp2", weights, sample=given, classes=3, size=32)
        before, after = (layers(net, "mlp2", pixels, size=32, inner=False)["penultimate"] for pixels in (clean, given))
        told = Histogram(slices=4)(before, after, rng=np.random.default_rng(0), device=torch.device("cpu"))
        assert row["value"] == pytest.approx(told.value, abs=1e-6)


def test_gaps_are_those_of_the_table_and_stand_in_the_text_and_on_the_page(ran: Path) -> None:
    found = information.lines(INFORMATION.read(Folder(str(ran))))
    noise = [
        line.name for line in found if (line.victim, line.layer, line.estimator, line.data) == ("linear", "penultimate", "knn", "noise")
    ]
    assert noise == ["noise (strong)", "noise (weak)"]
    told = (ran / "information.md").read_text()
    assert {one.n for one in information.associations(found) if not one.among.startswith("all")} == {4}, "two copies and two noise controls"
    assert "victim mlp2, relabel identity: " in told
    assert "## By depth" in told
    page = (ran / "report.html").read_text()
    assert 'id="gaps-0"' in page
    assert 'href="#information"' in page
    assert "all settings are ours" in page


def test_a_second_call_measures_nothing_and_more_estimators_only_themselves(ran: Path, tmp_path: Path) -> None:
    before, table = finished(ran), rows(ran)
    measure(str(ran), resources=LOCAL, **FEW)
    assert finished(ran) == before
    assert rows(ran) == table
    mine = Path(shutil.copytree(ran, tmp_path / "mine"))
    measure(str(mine), resources=LOCAL, **fields(FEW, estimators="histogram,kde,mine", mine_steps=2, victims="mlp2"))
    assert {name: finished(mine)[name] for name in before} == before
    assert len(finished(mine)) == len(before) + 24, "two estimators, two copies, each protected, clean and noise, two seeds"
    assert {(row["estimator"], row["victim"]) for row in rows(mine)} == {(name, "mlp2") for name in ("histogram", "kde", "mine")}


def test_several_runs_make_one_table_in_the_first(made: Path, ran: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(ran, tmp_path / "other"))
    measure(str(other), str(ran), resources=LOCAL, **FEW)
    found = rows(other)
    assert {row["run"] for row in found} == {str(other), str(ran)}
    assert len(found) == 2 * len(rows(ran))
    one, both = ([line.information for line in information.lines(INFORMATION.read(Folder(str(where))))] for where in (ran, other))
    assert one == both, "the same victims are the same points"


def test_a_victim_without_weights_is_skipped_with_the_reason(ran: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(ran, tmp_path / "mine"))
    gone = next(row["cell"] for row in rows(mine) if row["data"] == "protected")
    (mine / f"cell-{gone}" / "net.safetensors").unlink()
    measure(str(mine), resources=LOCAL, victims="linear", **FEW)
    assert {row["status"] for row in rows(mine) if row["cell"] == gone} == {"skipped"}
    assert {row["status"] for row in rows(mine) if row["cell"] != gone} == {"done"}
    assert "its weights were not kept; train it with --keep-weights" in (mine / "information.md").read_text()


def test_images_that_are_gone_and_weights_of_another_network_are_said(ran: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(ran, tmp_path / "mine"))
    linear, dense = (next(row["cell"] for row in rows(ran) if row["victim"] == name) for name in ("linear", "mlp2"))
    shutil.copy(mine / f"cell-{linear}" / "net.safetensors", mine / f"cell-{dense}" / "net.safetensors")
    measure(str(mine), resources=LOCAL, victims="mlp2", rows=200, **FEW)
    (reason,) = {row["reason"] for row in rows(mine) if row["cell"] == dense}
    assert "the saved weights are not those of mlp2 in this version" in reason
    assert {row["status"] for row in rows(mine) if row["cell"] != dense} == {"done"}
    for folder in mine.glob("match-*"):
        shutil.rmtree(folder)
    measure(str(mine), resources=LOCAL, victims="mlp2", rows=300, **FEW)
    assert all("no longer in the run folder" in row["reason"] for row in rows(mine))


WRONG = {
    "no run": (["measure", "{made}/photos"], "holds no results.parquet; name a folder that ray-ue evaluate wrote"),
    "estimator": (["measure", "{ran}", "--estimators", "histogramm"], r"no estimator is called 'histogramm'; did you mean 'histogram'\?"),
    "no estimator": (["measure", "{ran}", "--estimators", ","], "--estimators is empty; name one or more of histogram, knn"),
    "victim": (["measure", "{ran}", "--victims", "linea"], r"no victim of this run is called 'linea'; did you mean 'linear'\?"),
    "relabel": (["measure", "{ran}", "--relabels", "super:2"], "no relabel of this run is called 'super:2'; there are identity"),
    "rows": (["measure", "{ran}", "--rows", "5"], "--rows 5 are too few to estimate information from; ask for 100 or more"),
    "slices": (["measure", "{ran}", "--slices", "1"], "--slices 1 has no spread; ask for 2 or more, or 0"),
    "steps": (["measure", "{ran}", "--mine-steps", "0"], "--mine-steps must be 1 or more, got 0"),
    "weights": (["measure", "{bare}"], "keeps no weights of its victims; evaluate with --keep-weights into a new --results folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_one_line_and_exit_code_2(
    case: str, made: Path, ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(ran / "results.parquet", bare)
    words, phrase = WRONG[case]
    assert main([word.format(made=made, ran=ran, bare=bare) for word in words]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert re.search(phrase, told), told


def test_the_command_line_prints_the_correlations(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(ran), "--victims", "mlp2", "--slices", "4", "--layers", "--workers", "local"]) == 0
    told = capsys.readouterr().out
    assert "histogram (bins 30, slices 4), victim mlp2, relabel identity: " in told
    assert "information.parquet" in told


def test_a_field_that_is_none_of_a_measurements_is_named() -> None:
    with pytest.raises(
        ValueError, match="no field of a measurement is called 'victim'; did you mean 'victims'\\? there are victims, relabels"
    ):
        measure("run", victim="fast")
