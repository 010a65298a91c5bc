"""A step that is done is done on all workers: whoever writes to the table waits for the others before it says so.

Collectives of NCCL return before they are made, so a sum that nobody looks at holds up no process; only a barrier does.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from laws.method_worlds import AIM, BUDGET, World

from ray_ue.engine import train_loop
from ray_ue.loop import Workers
from ray_ue.perturbations.delta_table import DeltaTable


@pytest.mark.parametrize("name", ["lsp", "noise", "ar", "texture", "mi-ue", "tap", "em", "rem"])
def test_no_step_of_a_round_is_told_before_all_workers_have_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two workers, whose sums come back at once; the barrier must stand between the last write and the step."""
    events: list[str] = []
    really = DeltaTable.write

    def write(self: DeltaTable, turn: int, rows: np.ndarray, values: torch.Tensor) -> None:
        events.append("write")
        really(self, turn, rows, values)

    monkeypatch.setattr(DeltaTable, "write", write)
    workers = Workers(rank=0, world=2, barrier=lambda: events.append("wait"))
    world = World(name=name, per="image", home=tmp_path)
    for step in world.method.craft(world.view("a"), budget=BUDGET, aim=AIM, seed=0, workers=workers, resume={}):
        if step.saved == "must" and "write" in events:
            last = len(events) - 1 - events[::-1].index("write")
            assert "wait" in events[last:], f"step {step.step} was told before the others had written"
    assert "write" in events or name == "texture"


@pytest.mark.parametrize("device", [torch.device("cuda", 1), torch.device("cpu")])
def test_a_barrier_waits_for_this_workers_device_too(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's barrier holds up the device alone: what a worker has asked for may not be written when others go on."""
    asked: list[object] = []
    monkeypatch.setattr(train_loop, "assigned_device", lambda: device)
    monkeypatch.setattr(torch.distributed, "barrier", lambda **named: asked.append(named))
    monkeypatch.setattr(torch.cuda, "synchronize", asked.append)
    train_loop.barrier()
    assert asked == ([{"device_ids": [1]}, device] if device.type == "cuda" else [{}])
