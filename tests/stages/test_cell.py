"""What a cell makes of a victim's errors: a reason where it stands alone, an end where others wait or the device is lost."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ray_ue.config.schedules import SCHEDULES
from ray_ue.loop import Workers
from ray_ue.stages.evaluate import cell
from ray_ue.stages.evaluate.cell import CellJob, PixelSet
from ray_ue.storage.artifacts import Folder

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


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), RuntimeError("one worker's")])
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
