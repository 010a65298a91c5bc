"""A cluster under strain: a node that hardly moves, object stores that hold next to nothing, and one, two or four workers."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from many_nodes import Nodes, nodes
from shared_work import UC_ON_NODES, command, content, write_parts

from ray_ue.config.recipe import Resources
from ray_ue.images.codec import Picture, encode
from ray_ue.perturbations import Additive, open_poison_file
from ray_ue.pipelines.protect import protect
from ray_ue.storage.artifacts import Folder

pytestmark = [pytest.mark.ray, pytest.mark.long]

FLAGS = UC_ON_NODES
LOCAL = Resources(workers="local")


def run(source: Path, output: Path, cluster: Nodes, **flags: object) -> str:
    done = subprocess.run(
        command("protect", str(source), str(output), **(FLAGS | flags)),
        env=cluster.surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@contextmanager
def slowed(cluster: Nodes, node: int) -> Iterator[list[int]]:
    """The workers of one node stand still for nine tenths of the time; yields the ids of those that were held."""
    over, held = threading.Event(), list[int]()

    def send(pids: list[int], what: signal.Signals) -> None:
        for pid in pids:
            try:
                os.kill(pid, what)
            except ProcessLookupError:
                continue

    def hold() -> None:
        while not over.is_set():
            now = [pid for pid, words in cluster.workers(node) if "Agent" not in words]  # those serve the node itself
            held.extend(pid for pid in now if pid not in held)
            send(now, signal.SIGSTOP)
            over.wait(0.9)
            send(now, signal.SIGCONT)
            over.wait(0.1)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        over.set()
        thread.join()


def test_a_slow_node_costs_time_and_changes_nothing(ray_session: None, tmp_path: Path) -> None:
    source = write_parts(tmp_path / "source")
    protect(str(source), str(tmp_path / "alone"), resources=LOCAL, **FLAGS)  # type: ignore[arg-type]
    with nodes([2, 1, 2], log=tmp_path / "nodes.log") as cluster, slowed(cluster, 3) as held:
        run(source, tmp_path / "out", cluster, workers=1)
    assert held, "the slow node got work"
    assert content(tmp_path / "out") == content(tmp_path / "alone")


def test_images_far_larger_than_the_object_stores_pass_through_them(ray_session: None, tmp_path: Path) -> None:
    source, rng = tmp_path / "source", np.random.default_rng(0)
    source.mkdir()
    for number in range(700):  # noise hardly compresses: about 150 kB a file, 100 MiB together
        rgb = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        (source / f"{number:03d}.png").write_bytes(encode(Picture(rgb=rgb, alpha=None, exif=b"", icc=b""), format="png"))
    size = sum(path.stat().st_size for path in source.iterdir())
    drawn = {"method": "texture", "steps": 0, "batch": 0}  # what is crafted may differ by a level between two processes; waves do not
    protect(str(source), str(tmp_path / "alone"), resources=LOCAL, **(FLAGS | drawn))  # type: ignore[arg-type]
    store = 76  # MiB: the least that Ray allows is 75
    assert size > store * 2**20
    with nodes([1, 1], store=store, log=tmp_path / "nodes.log") as cluster:
        run(source, tmp_path / "out", cluster, workers="local", **drawn)
    assert content(tmp_path / "out") == content(tmp_path / "alone")


def artifact(output: Path, stage: str) -> Path:
    """The one finished artifact of a stage."""
    (found,) = Path(f"{output}.ray-ue").glob(f"{stage}-*")
    return found


def test_one_two_and_four_workers_give_the_same_perturbations(ray_session: None, tmp_path: Path) -> None:
    source, first = write_parts(tmp_path / "source"), tmp_path / "first"
    protect(str(source), str(first), resources=LOCAL, until="cluster", **FLAGS)  # type: ignore[arg-type]
    banks, copies = [], []
    with nodes([2, 1, 2], log=tmp_path / "nodes.log") as cluster:
        for workers in (1, 2, 4):
            output = tmp_path / str(workers)
            shutil.copytree(f"{first}.ray-ue", f"{output}.ray-ue")
            told = run(source, output, cluster, workers=workers)
            assert "done before" in told
            poison = open_poison_file(Folder.at(str(artifact(output, "craft"))).fetch("bank.safetensors"))
            assert isinstance(poison, Additive)
            banks.append(poison.bank.astype(int))
            copies.append(content(output))
    assert np.abs(banks[0]).max() > 1, "something was learned"
    for bank, copy in zip(banks[1:], copies[1:]):
        assert np.abs(bank - banks[0]).max() <= 1
        assert (bank != banks[0]).mean() < 0.01
        assert copy.keys() == copies[0].keys()
        assert (copy == copies[0]) == bool((bank == banks[0]).all())
