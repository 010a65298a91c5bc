"""The main job from the command line, killed in three stages with SIGKILL and run again: the copy is that of an undisturbed run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from same_copy import assert_the_same_copy
from shared_work import command

FLAGS = [
    "--clusters",
    "3",
    "--method=uc",
    "--surrogate=ssl:small",
    "--image-size=32",
    "--ssl-steps",
    "40",
    "--steps",
    "60",
    "--batch",
    "32",
    "--craft-sample",
    "50",
    "--workers",
    "local",
]


def start(*words: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "ray_ue", *words]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True, bufsize=1
    )


def kill_when(process: subprocess.Popen[str], seen: str) -> list[str]:
    """Follow the log until a line begins with `seen`, then kill the whole job the hard way."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.strip().startswith(seen):
            time.sleep(0.3)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return lines
    raise AssertionError(f"the job ended before {seen!r}: {''.join(lines)}")


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(1500)  # eight starts of Ray, whose workers run at a nice level of 15
def test_a_job_killed_in_three_stages_ends_in_the_copy_of_an_undisturbed_one(photos: Path, tmp_path: Path) -> None:
    words = ["protect", str(photos), str(tmp_path / "out"), *FLAGS]
    kill_when(start(*words), "surrogate  ")
    kill_when(start(*words), "embed  1 encoder")
    kill_when(start(*words), "craft  ")
    told, log = start(*words).communicate(timeout=300)
    assert "verified" in told, log
    assert str(tmp_path / "out") in told
    calm, log = start("protect", str(photos), str(tmp_path / "calm"), *FLAGS).communicate(timeout=300)
    assert "verified" in calm, log
    assert len(list((tmp_path / "calm").rglob("*.png"))) == 60
    assert_the_same_copy(tmp_path / "out", tmp_path / "calm")
    again, log = start("verify", str(tmp_path / "out")).communicate(timeout=300)
    assert "verified" in again, log
    (tmp_path / "out" / "cats" / "000.png").unlink()
    broken = start("verify", str(tmp_path / "out"))
    _, log = broken.communicate(timeout=300)
    assert broken.returncode == 1
    assert log.splitlines()[-1].startswith("ray-ue: 1 image missing from the copy: cats/000.png")


def test_the_functions_of_the_package_can_be_called_again_and_again() -> None:
    """A module of the same name would take a function's place as soon as it is imported."""
    import ray_ue

    for _ in range(2):
        for name in ("protect", "evaluate", "measure"):
            assert callable(getattr(ray_ue, name)), name


def test_the_command_of_the_long_tests_is_one() -> None:
    """They start it beside other nodes, where one that says nothing and ends well would look like a run."""
    done = subprocess.run(command("methods"), capture_output=True, text=True, check=True)
    assert "texture" in done.stdout
