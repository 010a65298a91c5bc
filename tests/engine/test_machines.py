"""Shares of machines: what actors ask for leaves room for those that feed them. Starts no Ray."""

import pytest

from ray_ue.config.recipe import Resources
from ray_ue.engine.lanes import Lanes
from ray_ue.engine.machines import BESIDE, READER, Machines, Node

EXACT = 10_000  # Ray counts in ten-thousandths of a CPU


@pytest.mark.parametrize("cpus", range(1, 57))
def test_a_reader_fits_beside_the_most_actors_that_a_node_can_hold(cpus: int) -> None:
    actor, reader = round(BESIDE * EXACT), round(READER * EXACT)
    assert cpus * EXACT % actor >= reader


@pytest.mark.parametrize(("gpus", "share", "parts"), [(2, 0.4, 4), (2, 0.5, 4), (1, 0.1, 10), (3, 1, 3), (4, 2, 2), (3, 2, 1), (0, 0.5, 0)])
def test_a_part_of_a_gpu_lies_on_one_gpu(gpus: int, share: float, parts: int) -> None:
    assert Machines.one(cpus=4, gpus=gpus).shares(share) == parts


def test_victims_of_several_workers_take_whole_gpus() -> None:
    machines = Machines.one(cpus=8, gpus=2)
    assert Lanes.plan(machines, Resources(workers="2"), cells=9).count == 1
    with pytest.raises(ValueError, match=r"--workers 2 with 0\.5 of a GPU each could share a GPU"):
        Lanes.plan(machines, Resources(workers="2", gpus_per_victim=0.5), cells=9)


@pytest.mark.parametrize(("cpus", "gpus", "actors"), [(1, 0, 1), (2, 0, 2), (2, 1, 8), (8, 8, 8), (64, 4, 4)])
def test_all_actors_and_a_reader_fit_on_the_machines_that_they_were_planned_for(cpus: int, gpus: int, actors: int) -> None:
    share = Machines.one(cpus=cpus, gpus=gpus).beside_readers(actors)
    assert 0 < share <= BESIDE
    assert actors * share + READER <= cpus


# What cluster.yaml ships: a head without work, here left out as `measure` does, and workers of 32 cores with a GPU; one has none.
MIXED = Machines(nodes=(Node(cpus=32, gpus=1, cores=32), Node(cpus=32, gpus=1, cores=32), Node(cpus=8, gpus=0, cores=8)))


def test_an_encoder_decodes_with_the_cores_of_its_own_node_whatever_the_driver_has() -> None:
    actors, share = MIXED.encoder(Resources())
    assert (actors, share) == (2, 1.0)
    assert MIXED.hosts().threads(Resources(), tasks=actors) == 32


def test_nodes_of_different_sizes_are_filled_and_none_is_asked_for_more_than_it_has() -> None:
    machines = Machines(nodes=(Node(cpus=16, gpus=1, cores=16), Node(cpus=96, gpus=8, cores=96)))
    actors, _ = machines.encoder(Resources())
    assert actors == 9
    assert machines.hosts().threads(Resources(), tasks=actors) == 13
    assert machines.threads(Resources(), tasks=1) == 96
    assert machines.threads(Resources(cpus_per_task=3), tasks=1) == 3


def test_gpus_of_two_nodes_make_no_share_of_three() -> None:
    machines = Machines(nodes=(Node(cpus=8, gpus=3, cores=8),) * 2)
    assert machines.shares(2) == 2


def test_lanes_on_gpus_share_the_cores_of_the_nodes_that_have_some() -> None:
    lanes = Lanes.plan(MIXED, Resources(), cells=100)
    assert (lanes.count, lanes.gpus, lanes.threads) == (2, 1.0, 32)


@pytest.mark.parametrize(("share", "nodes", "gpus"), [(1.0, 3, 2), (0.67, 2, 2), (0.34, 1, 1), (0.1, 1, 1)])
def test_a_part_of_the_machines_keeps_those_with_gpus(share: float, nodes: int, gpus: int) -> None:
    part = MIXED.part(share)
    assert (len(part.nodes), part.gpus) == (nodes, gpus)
    assert part.cores <= MIXED.cores
