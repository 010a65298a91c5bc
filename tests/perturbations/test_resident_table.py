"""A table that stays on a device reads and writes what the table in its files does, and leaves the same files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ray_ue.loop import Workers
from ray_ue.perturbations import delta_table
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.perturbations.resident_table import ResidentDeltaTable
from ray_ue.storage.artifacts import Folder

BUDGET, ROWS, CPU, ALONE = Budget(levels=8), 23, torch.device("cpu"), Workers()


def table(where: str) -> DeltaTable:
    return DeltaTable(home=Folder.at(where), rows=ROWS, side=6, pools=4, budget=BUDGET)


def resident(where: str, *, workers: Workers = ALONE) -> ResidentDeltaTable:
    return ResidentDeltaTable.of(table(where), device=CPU, workers=workers)


def some(rows: int, *, seed: int = 0) -> torch.Tensor:
    return (torch.rand((rows, 3, 6, 6), generator=torch.Generator().manual_seed(seed)) * 3 - 1.5) * BUDGET.radius


def rounds(made: DeltaTable) -> list[torch.Tensor]:
    """Three rounds, each of which writes all rows and reads those of the round before; what was read."""
    order, read = np.random.default_rng(0).permutation(ROWS), []
    for turn in (1, 2, 3):
        for rows in np.array_split(order, 5):
            read.append(made.read(turn - 1, rows))
            made.write(turn, rows, some(len(rows), seed=turn) + read[-1] / 2)
        made.close(turn, Workers())
    return [*read, made.read(3, order)]


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_both_tables_give_the_same_numbers_and_the_same_files(tmp_path: Path, kind: str) -> None:
    homes = [str(tmp_path / name) if kind == "disk" else f"memory://{tmp_path.name}-{name}" for name in ("paged", "resident")]
    read = [rounds(table(homes[0])), rounds(resident(homes[1]))]
    assert all(torch.equal(a, b) for a, b in zip(*read, strict=True))
    files = [{name: Folder.at(home).read(f"side-1/{name}") for name in Folder.at(home).names("side-1")} for home in homes]
    assert files[0] == files[1]
    assert len(files[0]) == 4


def test_a_new_process_reads_what_a_closed_round_left(tmp_path: Path) -> None:
    last = rounds(resident(str(tmp_path)))[-1]
    order = np.random.default_rng(0).permutation(ROWS)
    assert torch.equal(resident(str(tmp_path)).read(3, order), last)
    assert torch.equal(table(str(tmp_path)).read(3, order), last)


def test_a_mark_saves_what_was_written_and_what_comes_after_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_table, "MARKED", -1.0)
    monkeypatch.setattr(delta_table.time, "monotonic", iter(range(100)).__next__)
    made = resident(str(tmp_path))
    first, second = np.array_split(made.members(0), 2)
    made.write(1, first, some(len(first)))
    made.mark(1, 0, 1)
    made.write(1, second, some(len(second)))
    again = resident(str(tmp_path))
    assert again.marked(1, 0) == 1
    again.write(1, made.members(1)[:1], some(1))  # the round goes on
    assert torch.equal(again.read(1, first), made.read(1, first))
    assert not again.read(1, second).any()


def test_a_round_whose_files_are_gone_is_not_taken_for_zeros(tmp_path: Path) -> None:
    rounds(resident(str(tmp_path)))
    next((tmp_path / "side-1").iterdir()).unlink()
    with pytest.raises(FileNotFoundError, match=r"is gone, and with it the perturbations of [56] images; start over"):
        resident(str(tmp_path)).read(3, np.arange(3))


def test_a_worker_holds_its_own_rows_alone(tmp_path: Path) -> None:
    made = resident(str(tmp_path), workers=Workers(rank=1, world=2))
    assert made.bytes_resident() == 2 * sum(len(made.members(pool)) for pool in (1, 3)) * 3 * 36
    with pytest.raises(AssertionError, match="its own rows"):
        made.read(1, made.members(0))
