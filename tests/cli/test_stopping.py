"""Stopping: however often a command is told to end, it ends once, in one line, with the exit code of the first signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import photo
from PIL import Image

from ray_ue.cli.stopping import PATIENCE, Stop, Terminated, stop_behind

LINE = "ray-ue: stopped; the same command continues"
QUICK = ("--method", "noise", "--per", "image", "--workers", "local")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_raises_once_and_again_only_if_nothing_came_of_it(number: int, error: type[BaseException]) -> None:
    now = [100.0]
    stop = Stop(clock=lambda: now[0])
    with pytest.raises(error):
        stop(number, None)
    for further in (signal.SIGINT, signal.SIGTERM):
        stop(further, None)
    now[0] += PATIENCE
    with pytest.raises(Terminated):
        stop(signal.SIGTERM, None)


def test_a_stop_that_was_swallowed_is_raised_again_and_never_while_it_is_handled() -> None:
    stop = Stop()
    stop.remind(signal.SIGALRM, None)  # nothing was asked yet
    with pytest.raises(Terminated) as first:
        stop(signal.SIGTERM, None)
    with pytest.raises(Terminated) as second:
        stop.remind(signal.SIGALRM, None)
    assert second.value is first.value
    try:
        raise first.value
    except KeyboardInterrupt:
        stop.remind(signal.SIGALRM, None)
        try:
            raise OSError("in what is done at the end")
        except OSError:
            stop.remind(signal.SIGALRM, None)


@pytest.mark.parametrize("number", CODES)
def test_a_command_in_which_the_first_signal_is_lost_ends_all_the_same(number: signal.Signals, tmp_path: Path) -> None:
    """As in a callback of compiled code; then it waits for what never comes, and what it does at the end takes longer than the timer."""
    lost = """
        import queue, time
        try:
            print("importing", flush=True)
            time.sleep(60)
        except BaseException:
            pass
        try:
            queue.Queue().get(timeout=60)
        finally:
            time.sleep(5)
            print("in order", flush=True)
    """
    (tmp_path / "torch.py").write_text(dedent(lost))
    process = started(tmp_path, "methods")
    assert process.stdout
    assert process.stdout.readline() == "importing\n"
    os.kill(process.pid, number)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said.strip()) == (CODES[number], "in order\n", LINE)


def test_a_stop_is_found_behind_what_compiled_code_made_of_it() -> None:
    error = SystemError("CoreWorker.wait returned a result with an exception set")
    error.__cause__ = Terminated()
    assert stop_behind(error) is error.__cause__
    assert stop_behind(ValueError("of another kind")) is None


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ray_ue", *words]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=listen,
    )


def listen() -> None:
    """Ctrl+C is heard also where these tests run in the background of a script, which has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stopped_twice(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """(exit code, what it said) of a process that gets a signal twice."""
    for _ in range(2):
        os.kill(process.pid, number)
        time.sleep(0.2)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.mark.parametrize("number", CODES)
def test_a_command_that_is_stopped_while_it_imports_ends_in_one_line(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")  # `-m` looks in the folder first
    process = started(tmp_path, "methods")
    assert process.stdout
    assert process.stdout.readline() == "importing\n"
    code, said = stopped_twice(process, number)
    assert (code, said.strip()) == (CODES[number], LINE)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_a_group_of_processes_that_is_told_to_end_while_ray_starts_ends_in_one_line(seconds: float, tmp_path: Path) -> None:
    """As service managers and `timeout` tell it; Ray's own processes end after the one that has to answer."""
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.fromarray(photo(index)).save(tmp_path / f"photos/{index}.png")
    process = started(tmp_path, "protect", "photos", "copy", *QUICK)
    assert process.stderr
    assert any("starting locally" in line for line in process.stderr), "the run ended before that"
    time.sleep(seconds)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (CODES[signal.SIGTERM], LINE)
    assert time.monotonic() - began < 20


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("moment", ["starting locally", "  export"])
def test_a_run_that_is_stopped_twice_ends_in_one_line_whatever_it_does(number: signal.Signals, moment: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(12):
        Image.fromarray(photo(index)).save(tmp_path / f"photos/{index}.png")
    process = started(tmp_path, "protect", "photos", "copy", *QUICK)
    assert process.stderr
    assert any(moment in line for line in process.stderr), "the run ended before that"
    code, said = stopped_twice(process, number)
    assert code == CODES[number]
    assert LINE in said
    assert "Traceback" not in said
    assert "Error" not in said


def test_a_folder_that_was_deleted_is_one_line(tmp_path: Path) -> None:
    (gone := tmp_path / "gone").mkdir()
    script = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); from ray_ue.cli.start import run; run()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ray-ue: the folder in which this runs was deleted; cd to one that is there\n"
