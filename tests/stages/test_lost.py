"""Storage that goes away in the middle: a clear line, nothing half-written, and the same command goes on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from shared_work import command, content, write_parts

from ray_ue.pipeline import protect
from ray_ue.recipe import Resources

pytestmark = [pytest.mark.ray, pytest.mark.long]

FLAGS = {"ssl_steps": 3, "steps": 6, "batch": 16, "clusters": 3, "craft_sample": 100}


@pytest.fixture(scope="module")
def alone(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`source`, and `copy` as an undisturbed run makes it."""
    root = tmp_path_factory.mktemp("lost")
    write_parts(root / "source")
    protect(str(root / "source"), str(root / "copy"), resources=Resources(workers="local"), **FLAGS)  # type: ignore[arg-type]
    return root


def run(source: Path, output: str, surroundings: dict[str, str]) -> subprocess.Popen[str]:
    words = command("protect", str(source), output, workers="local", **FLAGS)
    return subprocess.Popen(words, env=surroundings, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MiB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up_ends_the_run_and_the_next_goes_on(alone: Path, small_disk: Path) -> None:
    """The plan sees too small a disk; here something else fills it after that."""
    plain = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    output = small_disk / "copy"
    ballast = small_disk / "ballast"
    running = run(alone / "source", str(output), plain)
    assert running.stderr is not None
    told = []
    for line in running.stderr:
        told.append(line)
        if "encoder(s)" in line and not ballast.exists():
            fill(ballast)
    assert running.wait() == 2, "".join(told)[-3000:]
    assert "No space left" in "".join(told)
    assert "Traceback" not in "".join(told)
    ballast.unlink()
    running = run(alone / "source", str(output), plain)
    assert running.stderr is not None
    told = running.stderr.readlines()
    assert running.wait() == 0, "".join(told)[-3000:]
    assert content(output) == content(alone / "copy")


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb") as file:
        try:
            while True:
                file.write(bytes(65536))
                file.flush()
        except OSError:
            return
