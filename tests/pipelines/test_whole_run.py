"""The time of a whole run, as a dry run tells it: every part that a run has, from work that is done and timed now."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import image_bytes, write_photos

from ray_ue.config.recipe import Recipe, Resources
from ray_ue.methods.requirements import requirements_of
from ray_ue.pipelines import whole_run as module
from ray_ue.pipelines.pace import device_here
from ray_ue.pipelines.whole_run import WholeRun, seconds_each, whole_run

BLOBS = [b"no image", *(image_bytes(number) for number in range(3))]
FACTOR = 1.5  # between what is told and what a run takes, either way


def told(monkeypatch: pytest.MonkeyPatch, *, rows: int = 1000, crafting: float = 0.0, **fields: Any) -> dict[str, float]:
    monkeypatch.setattr(module, "network_seconds", lambda recipe, side, device: (0.02, 30.0 if recipe.surrogate.startswith("ssl") else 0.0))
    monkeypatch.setattr(module, "seconds_each", lambda blobs, work: 0.01)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    recipe = Recipe(**fields)
    return whole_run(
        recipe, requirements_of(recipe), BLOBS, rows=rows, crafting=crafting, device=device_here(Resources(workers="local"))[0]
    ).parts


def test_each_part_is_its_rows_at_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = told(monkeypatch, crafting=7.0, craft_sample=100, image_size=224)
    assert parts == pytest.approx(
        {
            "starting": module.START,
            "embedding": module.ENCODER + 1000 * (0.005 + module.BESIDE * 0.02),
            "training the surrogate": 0,
            "crafting": 7,
            "reading": 0.5,
            "writing": 5,
            "verifying": 5,
        }
    )


def test_a_surrogate_that_is_trained_takes_its_time_and_one_that_is_not_used_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, surrogate="ssl:small", image_size=32)["training the surrogate"] == 30
    assert "embedding" not in told(monkeypatch, method="noise", per="image", image_size=32)


def test_the_line_adds_up_and_leaves_out_what_takes_no_time() -> None:
    line = WholeRun(parts={"starting": 17.0, "embedding": 100.0, "crafting": 0.0, "writing": 3.4}).line()
    assert line.startswith("about 2:00 for the whole run on this machine alone (starting 0:17, embedding 1:40, writing 0:03; measured")


def test_files_that_cannot_be_read_are_not_counted() -> None:
    assert seconds_each([b"no image"], lambda data: image_bytes(0)[len(data)]) > 0
    recipe = Recipe(image_size=32)
    for seconds in module.writing_and_verifying(recipe, BLOBS, recipe.limits()):
        assert 0 < seconds < 1
    assert module.writing_and_verifying(recipe, BLOBS[:1], recipe.limits()) == (0, 0)


@pytest.mark.long
def test_a_run_takes_what_its_dry_run_says(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    command = [sys.executable, "-m", "ray_ue", "protect", str(tmp_path / "photos"), str(tmp_path / "out"), "--clusters", "3"]
    plan = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True).stdout
    line = next(line for line in plan.splitlines() if line.lstrip().startswith("in all"))
    minutes, seconds = line.split("about ")[1].split(" ")[0].split(":")
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    assert 1 / FACTOR < (time.monotonic() - began) / (60 * int(minutes) + int(seconds)) < FACTOR
