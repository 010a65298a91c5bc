"""One run at a time writes a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from ray_ue.pipelines.evaluate import refuse_foreign as refuse_foreign_results
from ray_ue.storage.artifacts import LOCK, Folder
from ray_ue.storage.locks import alone

HOLD = "import sys; from ray_ue.storage.artifacts import Folder; from ray_ue.storage.locks import alone\n"
HOLD += "with alone(Folder(sys.argv[1]), what='it'): print('held', flush=True); sys.stdin.read()"


def test_a_second_run_is_refused_until_the_first_has_ended_however_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "new")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match="another run is writing the copy at this moment"),
            alone(Folder(str(tmp_path / "new")), what="the copy"),
        ):
            pass
        with alone(Folder(str(tmp_path / "other")), what="another copy"):
            pass
        other.kill()
    with alone(Folder(str(tmp_path / "new")), what="the copy"):
        pass


def test_a_lock_that_is_left_makes_no_folder_foreign(tmp_path: Path) -> None:
    with alone(home := Folder(str(tmp_path / "results")), what="it"):
        assert (tmp_path / "results" / LOCK).exists()
    assert home.names() == []
    refuse_foreign_results(home)


def test_an_object_store_has_no_lock() -> None:
    with alone(Folder("memory://locks"), what="it"), alone(Folder("memory://locks"), what="it"):
        pass
