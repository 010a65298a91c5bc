"""A submitted job on a Ray cluster that a token guards: strangers are refused, a stopped job continues, and no token is left behind."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests
from conftest import write_photos
from same_copy import assert_the_same_copy

from ray_ue.cli.submit import LIMIT, describe_submission
from ray_ue.engine.environment import LOCAL

DASHBOARD = ("aiohttp_cors", "opencensus")  # what ray[default] brings: without it a head has no job server
pytestmark = [
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.skipif(not all(map(find_spec, DASHBOARD)), reason="Ray's job server is not installed: it comes with ray[default]"),
]

ROOT = Path(__file__).parents[2]
SMALL = [
    "--method=uc",
    "--surrogate=ssl:small",
    "--image-size=32",
    "--ssl-steps",
    "2",
    "--steps",
    "40",
    "--batch",
    "16",
    "--clusters",
    "3",
    "--craft-sample",
    "50",
    "--workers",
    "local",
]
PATIENCE = 240.0  # seconds: a job takes about 20 on a quiet machine


@dataclass(frozen=True, kw_only=True)
class Head:
    """A running head: its dashboard, its secret, its folder, and what a client's shell has in its environment."""

    url: str
    token: str
    folder: Path
    client: dict[str, str]

    def ask(self, method: str, path: str, *, token: str, data: bytes = b"") -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(method, self.url + path, headers=headers, data=data or None, timeout=60)

    def told(self, job: str) -> str:
        return self.ask("GET", f"/api/jobs/{job}/logs", token=self.token).json().get("logs") or ""

    def status(self, job: str) -> str:
        return self.ask("GET", f"/api/jobs/{job}", token=self.token).json()["status"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait(what: str, until: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.2)


def started_for(folder: Path) -> list[int]:
    """The processes of this head alone: other Rays may run on the machine."""
    mine = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"RAY_TMPDIR={folder}\0".encode() in (entry / "environ").read_bytes():
                mine.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile, or is not ours
    return mine


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """`ray start --head` as docs/clusters.md has it, with a token file, on free ports of this machine."""
    folder = Path(tempfile.mkdtemp(prefix="ru-"))  # short: Ray's sockets lie below it, and their names may have 107 bytes
    secret = tmp_path_factory.mktemp("secret") / "token"
    secret.touch(mode=0o600)
    secret.write_text(token := secrets.token_hex(32))
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    guarded = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(secret)}
    environment = own | LOCAL | guarded | {"RAY_TMPDIR": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    port = free_port()
    ports = [f"--{name}={free_port()}" for name in ("port", "dashboard-agent-listen-port", "ray-client-server-port", "metrics-export-port")]
    words = ["--head", "--block", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}", *ports]
    words += ["--min-worker-port=0", "--max-worker-port=0", "--num-cpus=4", f"--object-store-memory={200 * 2**20}", "--disable-usage-stats"]
    with (folder / "start.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "ray.scripts.scripts", "start", *words], env=environment, stdout=log, stderr=log)
    client = environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}
    made = Head(url=f"http://127.0.0.1:{port}", token=token, folder=folder, client=client)
    try:
        wait("the head", lambda: answers(made, process))
        yield made
    finally:
        # `ray stop` would end every Ray of this machine, and a polite end of this one takes half a minute.
        while running := started_for(folder):
            for pid in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.1)
        shutil.rmtree(folder, ignore_errors=True)


def answers(head: Head, process: subprocess.Popen) -> bool:
    """Whether the head takes jobs."""
    assert process.poll() is None, (head.folder / "start.log").read_text()
    try:
        return head.ask("GET", "/api/jobs/", token=head.token).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("token", ["", "0" * 64], ids=["none", "wrong"])
def test_a_stranger_may_neither_look_nor_submit(head: Head, token: str) -> None:
    refused = (401,) if not token else (401, 403)
    assert head.ask("GET", "/api/jobs/", token=token).status_code in refused
    assert head.ask("POST", "/api/jobs/", token=token, data=b'{"entrypoint": "true"}').status_code in refused
    assert head.ask("GET", "/api/jobs/", token=head.token).json() == []


def test_a_head_takes_no_package_above_the_limit_that_we_check(head: Head) -> None:
    package = "/api/packages/gcs/_ray_pkg_0123456789abcdef.zip"
    with suppress(requests.ConnectionError):  # it may hang up while we are sending
        assert head.ask("PUT", package, token=head.token, data=bytes(LIMIT + 1)).status_code == 413
    assert head.ask("GET", package, token=head.token).status_code == 404


def test_a_stopped_job_continues_when_the_same_line_is_submitted_again(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.url)
    told = describe_submission("protect", [str(photos), str(out), *SMALL, "--dry-run"], uris=[str(photos), str(out)], folder=ROOT)
    line = told.splitlines()[0].split(maxsplit=1)[1]
    assert line.startswith(f"ray job submit --address {head.url} --working-dir ")

    submit(head, line.replace("ray job submit", "ray job submit --no-wait --submission-id first"))
    wait("the clusters", lambda: "cluster  sizes" in head.told("first") or head.status("first") in ("FAILED", "SUCCEEDED"))
    assert head.ask("POST", "/api/jobs/first/stop", token=head.token).json()["stopped"]
    wait("the end of the first job", lambda: head.status("first") not in ("PENDING", "RUNNING"))
    assert head.status("first") == "STOPPED", head.told("first")
    assert not list(tmp_path.glob("out.ray-ue/export-*/manifest.json"))

    streamed = submit(head, line.replace("ray job submit", "ray job submit --submission-id second"))
    assert "succeeded" in streamed
    assert all(re.search(rf"^ *{stage}  done before$", streamed, re.MULTILINE) for stage in ("sample", "surrogate", "embed", "cluster"))
    assert "images read back" in streamed

    local = {name: value for name, value in head.client.items() if not name.startswith("RAY_")}
    undisturbed = [sys.executable, "jobs/protect.py", str(photos), str(tmp_path / "undisturbed"), *SMALL]
    subprocess.run(undisturbed, cwd=ROOT, env=local | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, timeout=PATIENCE)
    assert_the_same_copy(out, tmp_path / "undisturbed")

    uploaded = {str(path.relative_to(place)) for place in head.folder.rglob("_ray_pkg_*") if place.is_dir() for path in place.rglob("*")}
    assert {"ray_ue/cli/main.py", "jobs/protect.py"} <= uploaded
    assert not [name for name in uploaded if name.endswith((".parquet", ".safetensors")) or name.startswith(("bench-out", ".git/"))]
    assert leaks(head.token, head.folder, tmp_path) == []
    assert head.token not in head.told("first") + head.told("second") + streamed


def submit(head: Head, line: str) -> str:
    """Run the printed line in a shell; returns what it said."""
    done = subprocess.run(["bash", "-c", line], env=head.client, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def leaks(token: str, *folders: Path) -> list[str]:
    """Files below `folders` that hold the token."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if token.encode() in path.read_bytes()]
