"""What a cell makes of a victim's errors: a reason where it stands alone, an end where others wait or the device is lost."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ray_ue.config.schedules import SCHEDULES
from ray_ue.loop import Workers
from ray_ue.models.pretrained.tower import Unavailable
from ray_ue.stages.evaluate import cell
from ray_ue.stages.evaluate.cell import CellJob
from ray_ue.stages.evaluate.pixel_set import PixelSet
from ray_ue.storage.artifacts import Folder, finished

CPU = torch.device("cpu")
ONE = Workers()
TWO = replace(ONE, rank=1, world=2)


def job(home: Path) -> CellJob:
    at = Folder.at(str(home))
    pixels = PixelSet(views=at, match=at, column="clean", sha256="a")
    return CellJob(
        data="clean", fraction=0.0, victim="mlp2", defense="none", seed=0, schedule=SCHEDULES["fast"], size=16, flips=0.5, curve_rows=10,
        pixels=pixels, clean=pixels, rows=pixels, labels=at, classes=2, labels_sha256="b", test=at, test_sha256="c", perturbed=None,
        perturbed_sha256="", home=at,
    )  # fmt: skip


def train(home: Path, error: BaseException, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> dict:
    def fail(*given: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(cell, "_begin", lambda job: ((None, None), None))
    monkeypatch.setattr(cell, "_train", fail)
    return job(home).train(device=CPU, workers=workers, keep=False, told=print)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory: CUDA out of memory.*lower --batch"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "RuntimeError: mat1 and mat2"),
        (ValueError("a clean fraction is none"), "a clean fraction is none"),
    ],
)
def test_a_victim_that_fails_alone_has_a_reason(error: Exception, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = train(tmp_path, error, ONE, monkeypatch)
    assert found.keys() == {"failed"}
    assert re.match(told, found["failed"])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), RuntimeError("one worker's"), ValueError("one worker's")])
def test_one_of_several_workers_does_not_leave_the_others_waiting(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(error), match=str(error)):
        train(tmp_path, error, TWO, monkeypatch)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: device-side assert triggered"), torch.AcceleratorError("an illegal access")])
def test_a_lost_device_ends_the_process_and_not_the_rest_of_the_grid(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(error)):
        train(tmp_path, error, ONE, monkeypatch)


@pytest.mark.parametrize("mine", [None, ValueError("a package is not installed here")])
def test_workers_of_which_one_cannot_begin_all_leave_the_cell_and_keep_nothing(
    mine: ValueError | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sum over both workers is 1 on each of them."""
    monkeypatch.setattr(cell, "_begin", lambda job: ((None, None) if mine is None else None, mine))
    workers = replace(TWO, rank=0, all_reduce=lambda value: torch.ones_like(value))
    found = job(tmp_path).train(device=CPU, workers=workers, keep=False, told=print)
    assert found == {"failed": str(mine) if mine else "a worker on another node could not begin: its weights are not there"}
    assert not finished(job(tmp_path).folder)


@pytest.mark.parametrize(("error", "kept"), [(ValueError("makes none"), True), (Unavailable("the package is not installed"), False)])
def test_what_may_be_mended_on_a_node_is_no_lasting_failure(
    error: ValueError, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell, "_begin", lambda job: (None, error))
    assert job(tmp_path).train(device=CPU, workers=ONE, keep=False, told=print) == {"failed": str(error)}
    assert finished(job(tmp_path).folder) is kept


def test_workers_that_draw_their_own_batches_make_another_victim(tmp_path: Path) -> None:
    one = job(tmp_path)
    assert len({replace(one, workers=count).fingerprint() for count in (1, 2, 4)}) == 3
