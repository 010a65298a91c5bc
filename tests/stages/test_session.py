"""Shares of machines: what actors ask for leaves room for those that feed them. Starts no Ray."""

import pytest

from ray_ue.stages.session import BESIDE, READER, Machines

EXACT = 10_000  # Ray counts in ten-thousandths of a CPU


@pytest.mark.parametrize("cpus", range(1, 57))
def test_a_reader_fits_beside_the_most_actors_that_a_node_can_hold(cpus: int) -> None:
    actor, reader = round(BESIDE * EXACT), round(READER * EXACT)
    assert cpus * EXACT % actor >= reader


@pytest.mark.parametrize(("cpus", "gpus", "actors"), [(1, 0, 1), (2, 0, 2), (2, 1, 8), (8, 8, 8), (64, 4, 4)])
def test_all_actors_and_a_reader_fit_on_the_machines_that_they_were_planned_for(cpus: int, gpus: int, actors: int) -> None:
    share = Machines(cpus=cpus, gpus=gpus, nodes=1, cores=cpus).beside_readers(actors)
    assert 0 < share <= BESIDE
    assert actors * share + READER <= cpus
