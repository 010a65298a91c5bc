"""The environment of a local Ray is set before Ray is imported: until then no module that the commands load may import it."""

import socket
import subprocess
import sys
import threading

import pytest
import ray

from ray_ue.engine.joining import refuse_silent_address


@pytest.mark.parametrize(
    "module", ["ray_ue", "ray_ue.cli.main", "ray_ue.pipelines.protect", "ray_ue.pipelines.evaluate", "ray_ue.sweeps.run"]
)
def test_what_the_commands_load_leaves_ray_unimported(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in sys.modules if name.partition('.')[0] in ('ray', 'faiss')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not done.stdout.split(), "set up first (ray_ue.engine.environment), then import Ray"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no Ray"),
        (
            b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\1\5\0\0\0\1" + b"\x3f\xe1\x1f\x8d",
            "answers, but is no Ray",
        ),  # SETTINGS, and HEADERS of status 404
        (b"\0\0\0\4\0\0\0\0\0" + b"\0\0\6\1\5\0\0\0\1" + b"\x20\x48\x03405", "answers, but is no Ray"),
        (b"\0\0\0\4\0\0\0\0\0", "hangs up"),
        (b"", "hangs up"),
    ],
    ids=["web", "a proxy that speaks HTTP/2", "another that spells its status", "half", "nothing"],
)
def test_what_answers_and_is_no_ray_is_one_line(answer: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would wait for minutes, and end in its own internals."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ValueError, match=f"no Ray cluster answers at RAY_ADDRESS={address} .*{reason}"):
            refuse_silent_address()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_running_cluster_is_no_silent_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    refuse_silent_address()
