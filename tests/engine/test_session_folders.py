"""Folders of Ray sessions: ours go once their process is gone; those in use, and those of others, stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ray_ue.engine import local_ray
from ray_ue.engine.session_folders import MARK, claim, discard, starting, sweep


def folder(root: Path, name: str) -> Path:
    (path := root / name / "logs").mkdir(parents=True)
    (path / "raylet.out").write_text("…")
    return path.parent


def test_only_our_dead_sessions_are_removed(tmp_path: Path) -> None:
    dead, foreign, living = (folder(tmp_path, f"session_{name}") for name in ("dead", "foreign", "living"))
    (dead / MARK).touch()
    mark = claim(living)
    (tmp_path / "session_latest").symlink_to(dead)
    assert sweep(tmp_path) == 1
    assert not dead.exists()
    assert foreign.exists()
    assert living.exists()
    assert mark
    discard(mark)
    assert not living.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    treasure = folder(tmp_path / "home", "treasure")
    (treasure / MARK).touch()
    (tmp_path / "session_x").symlink_to(treasure)
    assert sweep(tmp_path) == 0
    assert treasure.exists()


def test_a_session_whose_process_was_killed_is_dead(tmp_path: Path) -> None:
    left = folder(tmp_path, "session_killed")
    code = "import pathlib, time; from ray_ue.engine.session_folders import claim"
    code += f"; mark = claim(pathlib.Path({str(left)!r})); print('x', flush=True)"
    process = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(60)"], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline()
    assert sweep(tmp_path) == 0
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert sweep(tmp_path) == 1


def test_a_folder_that_is_gone_or_claimed_is_not_ours(tmp_path: Path) -> None:
    assert claim(tmp_path / "nowhere") is None
    mark = claim(folder(tmp_path, "session_ours"))
    assert claim(tmp_path / "session_ours") is None
    assert mark
    mark.close()


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_leaves_no_session_behind() -> None:
    code = "from ray_ue.engine.session import session, session_folder\nwith session():\n    print(session_folder())"
    with TemporaryDirectory() as root:  # a short path, as that of a socket has at most 107 characters
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"RAY_TMPDIR": root}, stdout=subprocess.PIPE, check=True)
        left = Path(done.stdout.decode().strip())
        assert left.name.startswith("session_")
        assert left.is_relative_to(root)
        assert not left.exists()


def test_a_session_that_ended_before_it_was_claimed_goes_with_the_next(tmp_path: Path) -> None:
    """The process is killed while its session starts; another one's unmarked session stays."""
    code = f"""
import os, pathlib
from ray_ue.engine.session_folders import starting
with starting(pathlib.Path({str(tmp_path)!r})):
    pathlib.Path({str(tmp_path)!r}, f"session_2026_{{os.getpid()}}").mkdir()
    os.kill(os.getpid(), 9)
"""
    process = subprocess.run([sys.executable, "-c", code], check=False)
    assert process.returncode == -signal.SIGKILL
    foreign = folder(tmp_path, "session_2026_1")
    assert len(list(tmp_path.iterdir())) == 3
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_place_where_nothing_can_be_written_is_one_line_before_ray_tries(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = "Ray cannot write its temporary files below .*/file .Not a directory.; set RAY_TMPDIR"
    with pytest.raises(ValueError, match=f"(?s:{told})"), starting(tmp_path / "file/ray"):
        raise AssertionError("nothing is started")


def test_a_session_that_is_starting_stays_and_leaves_no_file_behind(tmp_path: Path) -> None:
    with starting(tmp_path / "ray"):
        mine = folder(tmp_path / "ray", f"session_2026_{os.getpid()}")
        assert sweep(tmp_path / "ray") == 0
    assert list((tmp_path / "ray").iterdir()) == [mine]


def test_a_start_that_hangs_is_ended_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code waits for Ray's own processes, and hears no signal: they are ended, but those of a Ray that runs already live on."""
    tries = []
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "raylet"])

    def waits_for_ever(**_: object) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "raylet"])
        tries.append(child)
        child.wait()
        raise ConnectionError("the raylet is gone")

    monkeypatch.setattr(local_ray, "HUNG", 1.0)
    monkeypatch.setattr("ray.init", waits_for_ever)
    monkeypatch.setattr("ray.shutdown", lambda: None)  # other tests use the Ray that runs
    with pytest.raises(ValueError, match="Ray did not start in 3 tries"):
        local_ray.start_local(2)
    assert [child.returncode for child in tries] == [-9] * 3
    assert other.poll() is None
    other.kill()
    other.wait()
