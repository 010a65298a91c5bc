"""Shares of machines: what actors ask for leaves room for those that feed them. Starts no Ray."""

import pytest

from ray_ue.config.recipe import Resources
from ray_ue.engine.lanes import Lanes
from ray_ue.engine.session import BESIDE, READER, Machines

EXACT = 10_000  # Ray counts in ten-thousandths of a CPU


@pytest.mark.parametrize("cpus", range(1, 57))
def test_a_reader_fits_beside_the_most_actors_that_a_node_can_hold(cpus: int) -> None:
    actor, reader = round(BESIDE * EXACT), round(READER * EXACT)
    assert cpus * EXACT % actor >= reader


@pytest.mark.parametrize(("gpus", "share", "parts"), [(2, 0.4, 4), (2, 0.5, 4), (1, 0.1, 10), (3, 1, 3), (4, 2, 2), (3, 2, 1), (0, 0.5, 0)])
def test_a_part_of_a_gpu_lies_on_one_gpu(gpus: int, share: float, parts: int) -> None:
    assert Machines(cpus=4, gpus=gpus, nodes=1, cores=4).shares(share) == parts


def test_victims_of_several_workers_take_whole_gpus() -> None:
    machines = Machines(cpus=8, gpus=2, nodes=1, cores=8)
    assert Lanes.plan(machines, Resources(workers="2"), cells=9).count == 1
    with pytest.raises(ValueError, match=r"--workers 2 with 0\.5 of a GPU each could share a GPU"):
        Lanes.plan(machines, Resources(workers="2", gpus_per_victim=0.5), cells=9)


@pytest.mark.parametrize(("cpus", "gpus", "actors"), [(1, 0, 1), (2, 0, 2), (2, 1, 8), (8, 8, 8), (64, 4, 4)])
def test_all_actors_and_a_reader_fit_on_the_machines_that_they_were_planned_for(cpus: int, gpus: int, actors: int) -> None:
    share = Machines(cpus=cpus, gpus=gpus, nodes=1, cores=cpus).beside_readers(actors)
    assert 0 < share <= BESIDE
    assert actors * share + READER <= cpus
