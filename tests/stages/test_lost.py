"""Storage that goes away in the middle: a clear line, nothing half-written, and the same command goes on."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shared_work import UC_ON_NODES, command, content, write_parts

from ray_ue.config.recipe import Resources
from ray_ue.pipelines.protect import protect

pytestmark = [pytest.mark.ray, pytest.mark.long]

FLAGS = UC_ON_NODES


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


def test_an_object_store_that_stops_answering_ends_the_run_and_the_next_goes_on(alone: Path) -> None:
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer
    first = server(ip_address="127.0.0.1", port=0)
    first.start()
    host, port = first.get_host_and_port()
    own = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "2"}
    surroundings = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | own | {"AWS_DEFAULT_REGION": "us-east-1"}
    import s3fs

    fs = s3fs.S3FileSystem(endpoint_url=own["AWS_ENDPOINT_URL"], key="x", secret="x", skip_instance_cache=True, use_listings_cache=False)
    fs.mkdir("lost")
    running = run(alone / "source", "s3://lost/copy", surroundings)
    try:
        wait_for(lambda: bool(fs.glob("lost/copy.ray-ue/export-*/ledger/*")), running)
    finally:
        first.stop()
    assert running.stderr is not None
    told = running.stderr.read()
    assert running.wait() == 2, told[-3000:]
    assert "an object store does not answer" in told
    assert "Traceback" not in told
    again = server(ip_address="127.0.0.1", port=port)  # what was stored outlives the server
    again.start()
    try:
        assert not fs.glob("lost/copy.ray-ue/export-*/manifest.json")
        running = run(alone / "source", "s3://lost/copy", surroundings)
        assert running.stderr is not None
        told = running.stderr.read()
        assert running.wait() == 0, told[-3000:]
        assert "were done before" in told
        found = {name.removeprefix("lost/copy/"): fs.cat_file(name) for name in fs.find("lost/copy")}
        assert found == content(alone / "copy")
    finally:
        again.stop()


def wait_for(there: Callable[[], bool], running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not there():
        assert running.poll() is None, running.stderr.read()[-3000:] if running.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)


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
        if "encoder" in line and not ballast.exists():
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
