"""The same command on several nodes: the head gets no work, a lost node costs only its own, and the copy is that of one machine."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from many_nodes import nodes
from shared_work import UC_ON_NODES, command, content, write_parts

from ray_ue.config.recipe import Resources
from ray_ue.pipelines.protect import protect

pytestmark = [pytest.mark.ray, pytest.mark.long]

FLAGS = UC_ON_NODES


def test_a_node_that_dies_leaves_the_copy_as_it_would_have_been(ray_session: None, tmp_path: Path) -> None:
    source, output = write_parts(tmp_path / "source"), tmp_path / "out"
    protect(str(source), str(tmp_path / "alone"), resources=Resources(workers="local"), **FLAGS)  # type: ignore[arg-type]
    with nodes([2, 1, 2], log=tmp_path / "nodes.log") as cluster:
        running = subprocess.Popen(
            command("protect", str(source), str(output), workers=1, **FLAGS),
            env=cluster.surroundings(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        told, lost = io.StringIO(), list[str]()
        assert running.stderr is not None
        for line in running.stderr:
            told.write(line)
            if "encoder" in line and not lost:  # embedding starts: the third node goes, another comes
                lost.append(cluster.order("kill 2"))
                cluster.order("add 2")
        assert running.wait() == 0, told.getvalue()[-3000:]
        assert lost == ["gone"]
    assert content(output) == content(tmp_path / "alone")


WHERE = """
import os, ray, pyarrow as pa
from ray_ue.engine.session import session, stream
from ray_ue.config.recipe import Resources

class Where:
    def __call__(self, table):
        return pa.table({"node": [ray.get_runtime_context().get_node_id()], "gpus": [float(len(ray.get_gpu_ids()))]})

with session() as machines:
    assert (machines.gpus, len(machines.nodes), len(machines.hosts().nodes)) == (2, 2, 1), machines
    actors, share = machines.encoder(Resources(gpus_per_encoder=0.5))
    assert (actors, share) == (4, 0.5)
    items = [{"number": number} for number in range(12)]
    found = {row["node"] for row in stream(items, work=Where, arguments={}, cpus=1, gpus=share, actors=2)}
    able = {node["NodeID"] for node in ray.nodes() if node["Resources"].get("GPU")}
    assert found <= able, (found, able)
    task = ray.remote(num_cpus=1)(lambda: ray.get_runtime_context().get_node_id())
    idle = {node["NodeID"] for node in ray.nodes() if not node["Resources"].get("CPU")}
    assert not idle & set(ray.get([task.remote() for _ in range(12)]))
    print("as it should be", len(found))
"""


def test_work_for_gpus_lands_where_they_are_and_the_head_gets_none(tmp_path: Path) -> None:
    with nodes([1, "4:2"], log=tmp_path / "nodes.log") as cluster:
        done = subprocess.run([sys.executable, "-c", WHERE], env=cluster.surroundings(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "as it should be" in done.stdout
