"""Methods that train their own network, through the whole pipeline: what is left out, what is told, and what a kill may cost."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import image_bytes, write_classes
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from shared_work import train_workers

from ray_ue.cli.main import main
from ray_ue.config.recipe import Resources
from ray_ue.perturbations import Additive
from ray_ue.pipelines.protect import protect, reopen
from ray_ue.stages.protect.craft import open_poison
from ray_ue.storage.artifacts import Artifact, Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

LOCAL = Resources(workers="local")
TINY = "network=mlp2,epochs=2,poison_batch=16,steps=2,step=1"
QUICK: dict[str, Any] = {"method": "mi-ue", "groups": "label", "budget": "8", "settings": TINY, "learning_rate": 0.01, "batch": 16}
# Long enough to be killed in the middle, on 60 pictures.
LONG: dict[str, Any] = QUICK | {"settings": "network=mlp2,epochs=40,poison_batch=16,steps=4,step=0.5"}


def run(source: Path, output: Path, *, resources: Resources = LOCAL, until: str = "verify", **fields: Any) -> dict[str, Artifact]:
    return protect(str(source), str(output), resources=resources, until=until, **fields)


def bank(done: dict[str, Artifact]) -> np.ndarray:
    poison = open_poison(done["craft"].folder)
    assert isinstance(poison, Additive)
    return np.array(poison.bank).astype(int)


def listed(copy: Path) -> list[str]:
    return sorted(str(path.relative_to(copy)) for path in copy.rglob("*.png"))


def test_by_label_nothing_is_embedded_and_every_image_has_its_own(photos: Path, tmp_path: Path) -> None:
    (photos / "cats" / "bad.jpg").write_bytes(b"nothing")
    done = run(photos, tmp_path / "out", max_rejected=0.1, **QUICK)
    assert "embed" not in done
    assert "surrogate" not in done
    assert bank(done).shape == (60, 3, 32, 32)
    assert 0 < np.abs(bank(done)).max() <= 8
    assert len({entry.tobytes() for entry in bank(done)}) == 60
    work = Folder.at(str(tmp_path / "out.ray-ue"))
    assert not [name for name in work.names() if name.startswith(("embed", "surrogate"))]
    assert not done["craft"].folder.exists("deltas"), "the table is only needed while it is made"
    reasons = done["export"].folder.read_table("rejected.parquet").to_pylist()
    assert [(row["key"], "not an image" in row["reason"]) for row in reasons] == [("cats/bad.jpg", True)]


def test_by_cluster_it_needs_no_label_and_takes_several_numbers_of_clusters(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(40):
        (tmp_path / "photos" / f"{number}.png").write_bytes(image_bytes(number))
    asked = QUICK | {"groups": "kmeans", "clusters": 3, "also_clusters": "5,2", "surrogate": "ssl:small", "ssl_steps": 2}
    done = run(tmp_path / "photos", tmp_path / "out", until="craft", **asked)
    assert set(done["craft"].manifest.inputs) == {"views", "groups", "also-0", "also-1"}
    assert len(bank(done)) == 40


def test_one_perturbation_per_group_can_be_asked_for(photos: Path, tmp_path: Path) -> None:
    done = run(photos, tmp_path / "out", per="group", **QUICK)
    assert bank(done).shape == (3, 3, 32, 32)


def test_perturbations_that_are_taken_out_make_the_same_copy_when_they_are_given(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(photos, tmp_path / "out", **QUICK)
    older = tmp_path / "out.ray-ue" / "craft-ffffffffffffffff"  # as an earlier version may have left one
    shutil.copytree(first["craft"].folder.path(), older)
    (older / "bank.safetensors").write_bytes(b"of another version")
    for public in ("out", "photos"):
        assert main(["perturbations", str(tmp_path / "out"), str(tmp_path / public / "delta.npy")]) == 2
        assert "whoever gets that folder could undo the protection" in capsys.readouterr().err
        assert not (tmp_path / public / "delta.npy").exists()
    assert main(["perturbations", str(tmp_path / "out"), str(tmp_path / "delta.npy")]) == 0
    again = run(photos, tmp_path / "again", method="given", budget="8", settings=f"file={tmp_path / 'delta.npy'}")
    assert (bank(first) == bank(again)).all()
    assert all((tmp_path / "again" / key).read_bytes() == (tmp_path / "out" / key).read_bytes() for key in listed(tmp_path / "out"))
    assert main(["perturbations", str(tmp_path / "out"), str(tmp_path / "delta.npy")]) == 2, "what is there already is never overwritten"


def test_a_relative_file_is_found_by_workers_elsewhere_and_by_a_later_command_elsewhere(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deltas = np.random.default_rng(0).integers(-8, 9, (60, 3, 32, 32), dtype=np.int8)
    np.save(tmp_path / "delta.npy", deltas)
    monkeypatch.chdir(tmp_path)
    asked = {"method": "given", "groups": "label", "budget": "8", "settings": "file=delta.npy", "until": "craft"}
    done = run(photos, tmp_path / "out", resources=Resources(workers="1"), **asked)
    assert (bank(done) == deltas).all()
    monkeypatch.chdir(photos)
    assert reopen(str(tmp_path / "out"), resources=LOCAL).recipe.settings == f"file={tmp_path / 'delta.npy'}"


@pytest.mark.parametrize(
    ("entries", "levels", "side", "told"),
    [
        (60, 9, 32, "reaches 9 levels, but the budget is 8/255; --budget 9/255 would fit"),
        (60, 8, 16, "is of 16 x 16 pixels, but images are 32 x 32 here; --image-size 16 would fit"),
        (59, 8, 32, "has 59 entries for 60 images; there must be one for each"),
    ],
)
def test_a_file_that_does_not_suit_is_refused_before_anything_is_trained(
    photos: Path, tmp_path: Path, entries: int, levels: int, side: int, told: str
) -> None:
    np.save(tmp_path / "delta.npy", np.full((entries, 3, side, side), levels, np.int8))
    with pytest.raises(ValueError, match=told):
        run(photos, tmp_path / "out", method="given", budget="8", settings=f"file={tmp_path / 'delta.npy'}")
    assert not any(name.startswith(("surrogate", "embed")) for name in os.listdir(f"{tmp_path}/out.ray-ue"))


@pytest.mark.parametrize("method", ["given", "noise"])
def test_what_looks_at_no_group_trains_nothing_and_needs_no_label(tmp_path: Path, method: str) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(20):
        (tmp_path / "photos" / f"{number}.png").write_bytes(image_bytes(number))
    np.save(tmp_path / "delta.npy", np.random.default_rng(0).integers(-8, 9, (20, 3, 32, 32), dtype=np.int8))
    asked: dict[str, Any] = {"settings": f"file={tmp_path / 'delta.npy'}"} if method == "given" else {"per": "image"}
    done = run(tmp_path / "photos", tmp_path / "out", method=method, budget="8", **asked)
    assert len(bank(done)) == 20
    assert len(listed(tmp_path / "out")) == 20
    assert not any(name.startswith(("surrogate", "embed")) for name in os.listdir(f"{tmp_path}/out.ray-ue"))


@pytest.mark.parametrize("method", ["texture", "noise"])
def test_what_takes_no_image_pass_waits_for_no_worker(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    started: list[int] = []

    def trainer(*args: Any, scaling_config: ScalingConfig, **kwargs: Any) -> TorchTrainer:
        started.append(cast(int, scaling_config.num_workers))
        return TorchTrainer(*args, scaling_config=scaling_config, **kwargs)

    monkeypatch.setattr("ray_ue.engine.train_loop.TorchTrainer", trainer)
    done = run(photos, tmp_path / "out", resources=Resources(workers="1"), until="craft", method=method, groups="label", per="group")
    assert done["craft"].facts["slots"] == 3
    assert started == [0]


@pytest.mark.parametrize("method", ["ops", "cuda"])
def test_what_keeps_no_budget_says_so_and_is_verified_against_its_own_bound(photos: Path, tmp_path: Path, method: str) -> None:
    done = run(photos, tmp_path / "out", method=method, groups="label")
    assert done["craft"].facts["most"] == 255
    assert done["export"].facts["most_levels"] > 16


def test_too_many_bad_images_are_refused_before_crafting(photos: Path, tmp_path: Path) -> None:
    for number in range(10):
        (photos / "cats" / f"bad{number}.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"10 of 70 images cannot be used, more than --max-rejected 0\.01 allows"):
        run(photos, tmp_path / "out", **QUICK)


def test_more_workers_than_pools_are_refused_before_they_start(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--workers 2 is too many: 60 images make 1 pool"):
        run(photos, tmp_path / "out", resources=Resources(workers="2"), until="craft", **QUICK)


def test_steps_that_are_saved_are_shown_too(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    monkeypatch.setattr("ray_ue.engine.train_loop.write_live_step", lambda folder, step: shown.append(step.step))
    run(photos, tmp_path / "out", until="craft", **QUICK)
    assert shown == list(range(1, 15)), "in each of two epochs four batches of training and three of sign steps"


def test_more_workers_than_cpus_are_refused_instead_of_waited_for(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--workers 400 asks for more workers than there are CPUs \(\d+\); ask for fewer"):
        run(photos, tmp_path / "out", resources=Resources(workers="400"), until="craft", **(QUICK | {"per": "group"}))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_workers_with_pools_of_their_own_make_nearly_the_bank_of_one(tmp_path: Path) -> None:
    """Real Ray Train workers: sums in another order turn a sign here and there, and later steps carry it on."""
    write_classes(tmp_path / "photos", range(4_100))
    asked = QUICK | {"settings": "network=mlp2,epochs=2,steps=4,step=0.5", "batch": 128}
    banks = [
        bank(run(tmp_path / "photos", tmp_path / str(count), resources=Resources(workers=str(count)), until="craft", **asked))
        for count in (1, 2)
    ]
    apart = np.abs(banks[0] - banks[1])
    assert np.abs(banks[0]).mean() > 1
    assert (apart == 0).mean() > 0.9
    assert (apart <= 1).mean() > 0.99


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_job_goes_on_from_its_last_epoch_and_ends_in_the_same_bank(photos: Path, tmp_path: Path) -> None:
    whole = run(photos, tmp_path / "whole", until="craft", **LONG)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in LONG.items()]
    line = [sys.executable, "-m", "ray_ue", "craft", str(photos), str(tmp_path / "out"), "--workers=local", *flags]
    job = subprocess.Popen(line, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(tmp_path / "out.ray-ue", job)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    done = run(photos, tmp_path / "out", until="craft", **LONG)
    assert 0 < done["craft"].facts["resumed_at"] < 40
    assert done["craft"].fingerprint == whole["craft"].fingerprint
    assert (np.abs(bank(done) - bank(whole)) <= 1).mean() > 0.99, "other threads add in another order, and a sign may turn"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_killed_worker_comes_back_and_ends_in_the_same_bank(photos: Path, tmp_path: Path) -> None:
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.05):
            if list((tmp_path / "out.ray-ue").glob("craft-*/checkpoint.safetensors")) and (found := train_workers()):
                os.kill(found[-1], signal.SIGKILL)
                killed.append(found[-1])
                return

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    done = run(photos, tmp_path / "out", resources=Resources(workers="1"), until="craft", **LONG)
    over.set()
    thread.join()
    assert killed
    whole = run(photos, tmp_path / "whole", until="craft", **LONG)
    assert (np.abs(bank(done) - bank(whole)) <= 1).mean() > 0.99


def wait_for(work: Path, job: subprocess.Popen) -> None:
    """Until the job has left a checkpoint."""
    until = time.monotonic() + 400
    while not list(work.glob("craft-*/checkpoint.safetensors")):
        assert job.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.02)
