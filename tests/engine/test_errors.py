"""A user's error is found in every form in which Ray passes it on."""

import errno
import os
import signal
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError
from ray.train import ControllerError

from ray_ue.engine import session
from ray_ue.engine.errors import find_user_error

FULL = "No space left on device: '/disk/copy'; fix that"


def in_task(cause: Exception) -> Exception:
    """What `ray.get` raises for a task that failed."""
    text = f"Traceback (most recent call last):\n  File x\n{type(cause).__name__}: {cause}"
    return RayTaskError("task", text, cause, pid=1, ip="127.0.0.1").as_instanceof_cause()


def test_the_cause_of_a_task_is_its_own_line_and_no_traceback() -> None:
    assert str(find_user_error(in_task(ValueError("no weights")))) == "no weights"
    assert "No space left on device: /x; fix that" in str(find_user_error(in_task(OSError(errno.ENOSPC, "No space left on device", "/x"))))
    assert find_user_error(in_task(KeyError("a bug"))) is None


def test_a_name_that_the_locale_cannot_write_is_told_with_what_helps() -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        "photos/café.png".encode("ascii")
    told = str(find_user_error(caught.value))
    assert told.startswith("the name 'photos/caf\\xe9.png' cannot be written in this locale (ascii); set PYTHONUTF8=1 or")


@pytest.mark.parametrize(
    ("error", "phrase"),
    [(OSError(errno.ENOSPC, "No space left on device", "/x"), "No space left on device: /x; fix that"), (ValueError("plain"), "plain")],
)
def test_a_chained_cause_is_found(error: Exception, phrase: str) -> None:
    outer = RuntimeError("task failed")
    outer.__cause__ = error
    assert phrase in str(find_user_error(outer))
    assert find_user_error(RuntimeError("a bug")) is None
    assert find_user_error(None) is None


def test_a_cause_of_which_only_the_text_is_left_is_found() -> None:
    traceback = 'The actor died\n    with path.open("wb") as file:\n{}\n\nThe above exception'
    assert str(find_user_error(RuntimeError(traceback.format("ValueError: no weights")))) == "no weights"
    full = traceback.format("OSError: [Errno 28] No space left on device: '/disk/copy'")
    assert FULL in str(find_user_error(RuntimeError(full)))
    assert str(find_user_error(RuntimeError("OSError: [Errno 5] Input/output error"))).startswith("Input/output error; fix that")
    assert find_user_error(RuntimeError("OSError: [Errno 8] Exec format error")) is None


def test_an_object_store_that_does_not_answer_is_named() -> None:
    text = "botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL"
    assert "does not answer (EndpointConnectionError)" in str(find_user_error(RuntimeError(text)))


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (
            OutOfMemoryError("Task was killed due to the node running low on memory."),
            "the memory of a machine did not suffice",
        ),
        (
            ControllerError(RuntimeError("9 worker(s) were killed due to the node running low on memory. Memory on the node was 22 GB")),
            "the memory of a machine did not suffice",
        ),
        (WorkerCrashedError(), "died again and again, most likely because memory did not suffice"),
        (ActorDiedError(), "a worker died again and again"),
    ],
)
def test_work_that_dies_again_and_again_is_one_sentence_that_says_what_helps(error: Exception, phrase: str) -> None:
    message = str(find_user_error(error))
    assert phrase in message
    assert "--part 0.5" in message
    assert "\n" not in message


@pytest.mark.ray
def test_a_task_that_always_dies_ends_the_stream(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(batch: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
        yield batch

    monkeypatch.setattr(session, "RETRIES", 1)
    with pytest.raises(RayError) as caught:
        list(session.stream([{"x": 1}], work=die, arguments={}, cpus=1))
    assert "died again and again" in str(find_user_error(caught.value))


@pytest.mark.ray
def test_real_failures_of_tasks_actors_and_streams_are_found(ray_session: None) -> None:
    def fail(batch: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", "/disk/copy")

    class Broken:
        def __init__(self) -> None:
            raise ValueError("no weights in the constructor")

        def work(self) -> None: ...

    with pytest.raises(Exception, match="No space left") as task:
        ray.get(ray.remote(fail).remote(None))
    assert "No space left on device: /disk/copy; fix that" in str(find_user_error(task.value))
    with pytest.raises(Exception, match="no weights") as actor:
        ray.get(ray.remote(Broken).remote().work.remote())
    assert str(find_user_error(actor.value)) == "no weights in the constructor"
    with pytest.raises(Exception, match="No space left") as stream:
        ray.data.range(2).map_batches(fail).take_all()
    assert FULL in str(find_user_error(stream.value))


def test_what_the_controller_of_a_training_met_is_found() -> None:
    assert str(find_user_error(ControllerError(ValueError("no weights")))) == "no weights"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EIO, "Input/output error", "/disk/a.png"), "Input/output error: /disk/a.png; fix that"),
        (OSError(errno.ESTALE, "Stale file handle", "/nfs/a.png"), "Stale file handle: /nfs/a.png; fix that"),
        (OSError(errno.EINVAL, "Invalid argument", "/usb/a:b.png"), "/usb/a:b.png cannot be written: its file system takes no such name"),
        (OSError("128000 requested and 8160 written"), "No space left on device: while writing; fix that"),
        (MemoryError(), "the memory of this machine did not suffice; end other programs"),
    ],
)
def test_disks_and_memory_that_fail_are_a_line(error: BaseException, told: str) -> None:
    assert str(find_user_error(error)).startswith(told)


@pytest.mark.ray
def test_a_worker_that_was_killed_from_outside_is_a_line() -> None:
    from ray.exceptions import ActorDiedError
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

    killed = WorkerHealthCheckFailedError("a worker failed its health check", ActorDiedError())
    assert "a worker died again and again" in str(find_user_error(WorkerGroupError("workers failed", {0: killed})))


def test_what_ray_data_adds_of_retries_is_left_out() -> None:
    added = "Failed to apply UDF transform after 1/1 attempts (total backoff 0.0s). To change retry attempts configure ray.data"
    full = OSError(errno.ENOSPC, f"No space left on device: {added}", "/disk/copy")
    assert str(find_user_error(full)).startswith("No space left on device: /disk/copy; fix that")
    assert str(find_user_error(ValueError(f"bank is no safetensors file {added}"))) == "bank is no safetensors file"


def test_a_network_that_fails_is_no_disk() -> None:
    class ClientConnectorError(OSError):
        """As aiohttp's."""

    lost = ClientConnectorError(errno.EHOSTUNREACH, "Connect call failed")
    assert "an object store does not answer (ClientConnectorError)" in str(find_user_error(lost))
    assert find_user_error(OSError(errno.ETIMEDOUT, "Connection timed out")) is None
    assert "Host is down: /nfs/a.png" in str(find_user_error(OSError(errno.EHOSTDOWN, "Host is down", "/nfs/a.png")))
