"""A node whose cable is cut, in networks of their own: the run ends well or with one line, and the same command continues."""

import io
import subprocess
from pathlib import Path

import pytest
from nodes_apart import Apart, able, nodes_apart
from shared_work import UC_ON_NODES, command, content, write_parts

from ray_ue.config.recipe import Resources
from ray_ue.pipelines.protect import protect

pytestmark = [pytest.mark.ray, pytest.mark.long]

FLAGS = UC_ON_NODES
STALLED = {"RAY_UE_STALLED_S": "30"}


def follow(source: Path, output: Path, cluster: Apart, *, cut: int = 0) -> tuple[int, str]:
    """(exit code, what it said); the cable of node `cut` is cut when embedding starts."""
    running = subprocess.Popen(
        cluster.beside_the_head(command("protect", str(source), str(output), workers="local", **FLAGS)),
        env=cluster.surroundings() | STALLED,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    told = io.StringIO()
    assert running.stderr is not None
    for line in running.stderr:
        told.write(line)
        if cut and "encoder" in line:
            cluster.cut(cut)
            cut = 0
    code = running.wait()
    assert not cut, told.getvalue()[-3000:]
    return code, told.getvalue()


@pytest.mark.skipif(not able(), reason="network namespaces cannot be made here")
def test_a_node_behind_a_cut_cable_ends_the_run_at_worst_with_one_line(ray_session: None, tmp_path: Path) -> None:
    source, output = write_parts(tmp_path / "source"), tmp_path / "out"
    protect(str(source), str(tmp_path / "alone"), resources=Resources(workers="local"), **FLAGS)  # type: ignore[arg-type]
    with nodes_apart([1, 1, 1], log=tmp_path / "nodes.log") as cluster:
        code, told = follow(source, output, cluster, cut=3)
        if code:
            assert code == 2, told[-3000:]
            assert "nodes were lost, and what they were asked never came back; run the same line again" in told
            assert "Traceback" not in told
            code, told = follow(source, output, cluster)
        assert code == 0, told[-3000:]
    assert content(output) == content(tmp_path / "alone")
