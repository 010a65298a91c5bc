"""A round that is killed goes on after the batches that it has stored: it moves none of them twice, and ends in the same perturbations."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from laws.method_worlds import AIM, BUDGET, World

from ray_ue.loop import Step, Workers
from ray_ue.perturbations import delta_table
from ray_ue.perturbations.delta_table import DeltaTable

Steps = list[tuple[Step, dict[str, torch.Tensor]]]


@pytest.fixture(autouse=True)
def _every_batch_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_table, "MARKED", -1.0)
    monkeypatch.setattr(delta_table.time, "monotonic", iter(range(10**6)).__next__)


class Killed(BaseException):
    """No code of ours catches it."""


def kill_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    really, left = DeltaTable.write, [writes]

    def write(self: DeltaTable, turn: int, rows: np.ndarray, values: torch.Tensor) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        really(self, turn, rows, values)

    monkeypatch.setattr(DeltaTable, "write", write)


def last_saved(world: World, place: str) -> dict[str, torch.Tensor]:
    """The state that a checkpoint would hold after a kill: of the last step that must be saved."""
    state: dict[str, torch.Tensor] = {}
    crafting = world.method.craft(world.view(place), budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={})
    with suppress(Killed):
        for step in crafting:
            state = step.state() if step.saved == "must" else state
    return state


@pytest.mark.parametrize("name", ["tap", "pil", "rem", "sem", "em", "mi-ue", "tue"])
def test_a_killed_round_keeps_what_it_has_stored_and_ends_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(name=name, per="image", home=tmp_path)
    whole = world.shown(world.poison("whole"))
    with monkeypatch.context() as killing:
        kill_after(1, killing)
        state = last_saved(world, "killed")
    assert state, "the trained network was saved before the round began"
    written, really = list[int](), DeltaTable.write

    def write(self: DeltaTable, turn: int, rows: np.ndarray, values: torch.Tensor) -> None:
        written.append(len(rows))
        really(self, turn, rows, values)

    monkeypatch.setattr(DeltaTable, "write", write)
    last = world.steps("killed", resume=state)[-1][1]
    assert (world.shown(world.method.poison(last, deltas=world.deltas("killed"), budget=BUDGET)) == whole).all()
    rounds = {"em": 2, "mi-ue": 2, "tue": 2}.get(name, 1)
    assert sum(written) < 48 * rounds, "what was stored before the kill is not made again"


@pytest.mark.parametrize("name", ["tap", "em", "mi-ue"])
def test_a_killed_round_of_shared_perturbations_goes_on_within_it(name: str, tmp_path: Path) -> None:
    """Its entries are in the checkpoint, which may be of any list of batches."""
    world = World(name=name, per="group", home=tmp_path)
    straight = world.steps("whole")
    last = straight[-1][1]
    inside = [step.step for step, _ in straight if step.saved == "may"][-1]
    state = world.steps("killed", stop=inside)[-1][1]
    assert int(state["listed"]) > 0
    again = world.steps("killed", resume=state)
    assert len(again) == len(straight) - inside
    assert torch.equal(again[-1][1]["entries"], last["entries"])


def test_marks_of_another_round_count_for_nothing(tmp_path: Path) -> None:
    world = World(name="tap", per="image", home=tmp_path)
    table = world.deltas("a")
    table.write(1, np.arange(48), torch.zeros((48, 3, 8, 8)))
    table.mark(1, 0, 2)
    fresh = world.deltas("a")
    assert [fresh.marked(1, 0), fresh.marked(2, 0), fresh.marked(1, 1)] == [2, 0, 0]
