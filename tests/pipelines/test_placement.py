"""A plan for described nodes says where each stage runs, with the numbers that the stages take themselves. Starts no Ray."""

from dataclasses import replace
from pathlib import Path

import pytest

from ray_ue.cli.main import main
from ray_ue.cli.submit import without_planning
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.engine.machines import Machines, Node
from ray_ue.pipelines.placement import described_cluster, evaluate_placement, protect_placement

SHIPPED = Path(__file__).parents[2] / "cluster.yaml"
UC = Recipe(method="uc", surrogate="ssl:small", image_size=32)


def shipped() -> Machines:
    return described_cluster(str(SHIPPED))


def test_the_shipped_cluster_has_eight_nodes_of_a_gpu_and_no_work_on_its_head() -> None:
    assert shipped().nodes == (Node(cpus=32, gpus=1, cores=32),) * 8


def test_a_stage_of_the_shipped_cluster_runs_where_it_says() -> None:
    placed = protect_placement(UC, Resources(), shipped(), rows=1_281_167, shards=1_000)
    assert placed == {
        "index": "up to 256 tasks at a time on 8 nodes, 1 thread each",
        "sample": "up to 256 tasks at a time on 8 nodes, 1 thread each",
        "surrogate": "8 workers with 1 GPU each on 8 nodes",
        "embed": "up to 8 actors with 1 GPU each on 8 nodes, 32 threads each that decode, beside 9 readers",
        "cluster": "k-means in one task with 1 GPU each on 8 nodes; then up to 256 tasks at a time on 8 nodes, 1 thread each",
        "craft": "8 workers with 1 GPU each on 8 nodes",
        "export": "up to 256 tasks at a time on 8 nodes, 1 thread each",
        "verify": "up to 256 tasks at a time on 8 nodes, 1 thread each",
    }


def test_what_needs_no_gpu_or_one_worker_gets_none_of_the_rest() -> None:
    texture = protect_placement(replace(UC, method="texture"), Resources(), shipped(), rows=10_000, shards=8)
    assert texture["craft"] == "in the driver, on its CPU"
    assert texture["cluster"].startswith("k-means in the driver;")
    assert protect_placement(replace(UC, method="tue"), Resources(), shipped(), rows=10_000, shards=8)["craft"].startswith("1 worker")


def test_few_shards_share_the_cores_and_only_nodes_with_a_gpu_embed() -> None:
    mixed = described_cluster("2x32+1, 1x8")
    placed = protect_placement(UC, Resources(), mixed, rows=100_000, shards=4)
    assert placed["export"] == "up to 4 tasks at a time on 3 nodes, 18 threads each"
    assert placed["embed"].startswith("up to 2 actors with 1 GPU each on 2 nodes, 32 threads each")


def test_memory_that_is_stated_limits_what_holds_pictures() -> None:
    machines = described_cluster("2x8+1@8")
    assert machines.nodes == (Node(cpus=8, gpus=1, cores=8, memory=8 * 2**30),) * 2
    placed = protect_placement(UC, Resources(), machines, rows=1_000, shards=100, largest=96_000_000)
    assert placed["index"].startswith("up to 16 tasks")
    assert placed["export"] == "up to 8 tasks at a time on 2 nodes, 1 thread each"  # four of 1.8 GiB on each node
    assert placed["embed"].startswith("up to 2 actors with 1 GPU each on 2 nodes, 4 threads each")
    assert placed["memory"] == "8 pictures at a time: one of 96.0 megapixels needs about 1.8 GiB"
    small = protect_placement(UC, Resources(), machines, rows=1_000, shards=100, largest=100_000)
    assert small["export"].startswith("up to 16 tasks")
    assert "memory" not in small
    with pytest.raises(ValueError, match=r"96.0 megapixels needs about 1.8 GiB of memory, and no machine has that much free"):
        protect_placement(UC, Resources(), described_cluster("4x8@1GiB"), rows=1_000, shards=100, largest=96_000_000)


def test_a_file_may_state_the_memory_that_ray_hands_out(tmp_path: Path) -> None:
    stated = SHIPPED.read_text().replace('{"CPU": 32, "GPU": 1}', '{"CPU": 32, "GPU": 1, "memory": 85899345920}')
    (file := tmp_path / "cluster.yaml").write_text(stated)
    assert {node.memory for node in described_cluster(str(file)).nodes} == {80 * 2**30}


def test_victims_take_a_lane_for_each_share_of_a_gpu() -> None:
    assert (
        evaluate_placement(Resources(), shipped(), cells=100)["lanes"] == "8 lanes of 1 worker with 1 GPU each on 8 nodes, 32 threads each"
    )
    halves = evaluate_placement(Resources(gpus_per_victim=0.5), shipped(), cells=100)
    assert halves["lanes"] == "16 lanes of 1 worker with 0.5 GPU each on 8 nodes, 16 threads each"
    assert evaluate_placement(Resources(), described_cluster("1x16"), cells=4)["lanes"].startswith(
        "4 lanes of 1 worker on CPUs on 1 node, 4"
    )


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("eight", "'eight' describes no nodes; write for example 8x32+1"),
        ("2x0+1", "has no node with a CPU"),
        ("99999x1", "describes no nodes"),
        ("2x8@much", "'2x8@much' describes no nodes"),
        ("absent.yaml", "is no file of ray up"),
    ],
)
def test_a_description_that_cannot_be_read_says_what_can(text: str, phrase: str) -> None:
    with pytest.raises(ValueError, match="--nodes") as raised:
        described_cluster(text)
    assert phrase in str(raised.value)


def test_a_file_whose_nodes_are_looked_up_in_the_cloud_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "cluster.yaml").write_text(SHIPPED.read_text().replace('resources: {"CPU": 32, "GPU": 1}', "resources: {}"))
    with pytest.raises(ValueError, match="the node type gpu-spot states no CPUs"):
        described_cluster(str(file))


def test_a_dry_run_prints_where_stages_run_and_its_job_is_the_run_itself(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["protect", str(photos), str(tmp_path / "out"), "--method", "noise", "--nodes", "8x32+1@64", "--dry-run"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "    nodes  8: 8 of 32 CPUs, 1 GPU and 64.0 GiB\n" in printed
    assert "   export  up to 1 task at a time on 8 nodes, 32 threads each\n" in printed
    assert without_planning(words) == words[:5]
    assert main(words[:-1]) == 2
    assert "give it together with --dry-run" in capsys.readouterr().err
