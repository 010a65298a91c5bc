"""The same command on several nodes: the head gets no work, a lost node costs only its own, and the copy is that of one machine."""

import io
import subprocess
from pathlib import Path

import pytest
from many_nodes import nodes
from shared_work import command, content, write_parts

from ray_ue.pipeline import protect
from ray_ue.recipe import Resources

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FLAGS = {"ssl_steps": 3, "steps": 6, "batch": 16, "clusters": 3, "craft_sample": 100}


def test_a_node_that_dies_leaves_the_copy_as_it_would_have_been(ray_session: None, tmp_path: Path) -> None:
    source, output = write_parts(tmp_path / "source"), tmp_path / "out"
    protect(str(source), str(tmp_path / "alone"), resources=Resources(workers="local"), **FLAGS)  # type: ignore[arg-type]
    with nodes([2, 1, 2], log=tmp_path / "nodes.log") as cluster:
        running = subprocess.Popen(
            command("protect", str(source), str(output), workers=2, **FLAGS),
            env=cluster.surroundings(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        told, lost = io.StringIO(), list[str]()
        assert running.stderr is not None
        for line in running.stderr:
            told.write(line)
            if "encoder(s)" in line and not lost:  # embedding starts: the third node goes, another comes
                lost.append(cluster.order("kill 2"))
                cluster.order("add 2")
        assert running.wait() == 0, told.getvalue()[-3000:]
        assert lost == ["gone"]
    assert content(output) == content(tmp_path / "alone")
