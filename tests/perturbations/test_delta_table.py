"""The table of one delta per image: what is written is read, to a 127th of the budget, and two rounds never mix."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ray_ue.loop import Workers
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable, Scratch, pools_for
from ray_ue.storage.artifacts import Folder

BUDGET = Budget(levels=8)


def table(where: str | Path, *, rows: int = 23, pools: int = 4) -> DeltaTable:
    return DeltaTable(home=Folder.at(str(where)), rows=rows, side=6, pools=pools, budget=BUDGET)


def some(rows: int, *, seed: int = 0) -> torch.Tensor:
    return (torch.rand((rows, 3, 6, 6), generator=torch.Generator().manual_seed(seed)) * 2 - 1) * BUDGET.radius


def test_a_round_trip_errs_by_half_a_127th(tmp_path: Path) -> None:
    made, rows = table(tmp_path), np.array([22, 0, 7, 8, 5])
    made.write(1, rows, some(5))
    back = made.read(1, rows)
    assert (back - some(5)).abs().max() <= BUDGET.radius / 254 + 1e-7
    assert BUDGET.radius / 254 * 255 <= 0.0321, "finer than half of MI-UE's smallest step"
    assert (table(tmp_path).read(1, rows) == back).all(), "another process reads the same"


def test_nothing_is_read_before_the_first_round(tmp_path: Path) -> None:
    made = table(tmp_path)
    made.write(2, np.arange(23), some(23))  # a run that was killed left this behind; round 2 and round 0 share a side
    assert not made.read(0, np.arange(23)).any()


def test_a_round_writes_beside_the_one_that_it_reads(tmp_path: Path) -> None:
    made, rows = table(tmp_path), np.arange(23)
    made.write(1, rows, some(23, seed=1))
    before = made.read(1, rows)
    made.write(2, rows[:10], some(10, seed=2))
    assert (made.read(1, rows) == before).all()


def test_values_beyond_the_budget_are_cut(tmp_path: Path) -> None:
    made = table(tmp_path)
    made.write(1, np.array([3]), torch.ones((1, 3, 6, 6)))
    assert float(made.read(1, np.array([3])).max()) == pytest.approx(BUDGET.radius)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_every_row_has_one_owner(tmp_path: Path, world: int) -> None:
    made = table(tmp_path)
    owned = [np.concatenate([made.members(pool) for pool in made.owned(Workers(rank=rank, world=world))]) for rank in range(world)]
    assert sorted(np.concatenate(owned).tolist()) == list(range(23))


def test_a_table_that_is_gone_is_not_taken_for_zeros(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pool-00003\.npy is gone"):
        table(tmp_path).read(1, table(tmp_path).members(3)[:1])


def test_more_workers_than_pools_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"23 images make 4 pool\(s\).*--workers 4"):
        table(tmp_path).owned(Workers(rank=0, world=5))


def test_levels_come_in_order_and_whole(tmp_path: Path) -> None:
    made = table(tmp_path)
    made.write(1, np.arange(23), some(23))
    bank = np.concatenate(list(made.levels(1)))
    assert bank.dtype == np.int8
    assert np.abs(bank - some(23).numpy() * 255).max() <= 0.5 + 8 / 254
    assert made.bytes() == 2 * 23 * 3 * 36


@pytest.mark.parametrize(("rows", "classes"), [(50_000, 10), (50_000, 4), (1_281_167, 10), (1_281_167, 1000)])
def test_every_pool_has_about_its_share_of_each_class_however_they_are_dealt(tmp_path: Path, rows: int, classes: int) -> None:
    """Classes that come in turn (label = i mod 10) met 24 strided pools in fives; classes that come one after the other must not meet."""
    made = table(tmp_path, rows=rows, pools=pools_for(rows))
    for labels in (np.arange(rows) % classes, np.arange(rows) * classes // rows):
        counts = np.zeros((made.pools, classes), int)
        np.add.at(counts, (made.pool_of, labels), 1)
        wanted = rows / made.pools / classes
        assert abs(counts - wanted).max() <= 8 * wanted**0.5, "of a hypergeometric draw, whose deviation is below the root"


def test_rows_of_a_pool_ascend_so_that_a_table_is_read_from_front_to_back(tmp_path: Path) -> None:
    made = table(tmp_path, rows=23, pools=4)
    assert sorted(len(made.members(pool)) for pool in range(4)) == [5, 6, 6, 6]
    assert all((np.diff(made.members(pool)) > 0).all() for pool in range(4))


def test_pools_depend_on_the_rows_alone() -> None:
    assert [pools_for(rows, batch=512) for rows in (10, 2500, 5000, 50_000, 1_281_167)] == [1, 1, 2, 24, 625]


def test_a_table_on_an_object_store_survives_its_machine(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "one").mkdir()
    first = table(f"{store}/deltas")
    first.write(1, np.arange(23), some(23))
    first.close(1, Workers())
    (tmp_path / "two").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "two"))
    assert (table(f"{store}/deltas").read(1, np.arange(23)) == first.read(1, np.arange(23))).all()


def test_what_killed_workers_left_goes_and_what_others_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lines = [
        "import os, signal",
        "from ray_ue.perturbations.delta_table import Scratch",
        "held = Scratch('x')",
        "(held.path / 'big').write_bytes(b'1')",
    ]
    subprocess.run(
        [sys.executable, "-c", "; ".join([*lines, "os.kill(os.getpid(), signal.SIGKILL)"])],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        check=False,
    )
    (left,) = tmp_path.glob("x-*/big")
    first = Scratch("x")
    assert not left.exists()
    assert first.path.stat().st_mode & 0o777 == 0o700
    second = Scratch("x")
    assert first.path.exists()
    del second
    gc.collect()
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [first.path]


def test_what_a_worker_left_on_a_machine_is_not_taken_for_the_stores(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool may move to another machine and back: its files there are rounds behind."""
    (tmp_path / "elsewhere").mkdir()
    here = table(f"{store}/deltas")
    here.write(1, np.arange(23), some(23))
    here.close(1, Workers())
    with monkeypatch.context() as other:
        other.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
        elsewhere = table(f"{store}/deltas")
        elsewhere.write(3, np.arange(23), -some(23))  # the same side as round 1
        elsewhere.close(3, Workers())
    again = table(f"{store}/deltas").read(3, np.arange(23))
    assert torch.allclose(again, elsewhere.read(3, np.arange(23)))
    assert again.any()
