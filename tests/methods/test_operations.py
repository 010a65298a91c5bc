"""What a step asks of its device: a number of operations that does not grow with the batch, and no number back until a step is shown."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from laws.method_worlds import BUDGET, GROUPS, surrogate
from operations import Operations, operations

from ray_ue.config.schedules import Schedule
from ray_ue.exploiter import supervised
from ray_ue.exploiter.dataset import Training
from ray_ue.loop import Workers
from ray_ue.methods import Method, View
from ray_ue.methods.em import EM
from ray_ue.methods.gue import GUE
from ray_ue.methods.mi_ue import MIUE
from ray_ue.methods.pil import PIL
from ray_ue.methods.rem import REM
from ray_ue.methods.tap import TAP
from ray_ue.methods.tue import TUE
from ray_ue.methods.uc import UC
from ray_ue.models import contrastive, precision
from ray_ue.models.classifiers import classifier
from ray_ue.models.small import backbone
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.storage.artifacts import Folder

SIDE, ROWS, CPU = 8, 96, torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (ROWS, SIDE, SIDE, 3), dtype=np.uint8)
LARGE = np.random.default_rng(0).integers(0, 256, (ROWS, 16, 16, 3), dtype=np.uint8)
AIM = np.roll(np.arange(GROUPS), -1)


def view(home: Path) -> View:
    return View(
        pixels=PIXELS,
        slot_of=np.arange(ROWS, dtype=np.int32),
        slots=ROWS,
        group_of=(np.arange(ROWS) % GROUPS).astype(np.int32),
        groups=GROUPS,
        centers=np.random.default_rng(0).standard_normal((GROUPS, 6)).astype(np.float32),
        surrogate=surrogate(),
        deltas=DeltaTable(home=Folder.at(str(home)), rows=ROWS, side=SIDE, pools=1, budget=BUDGET),
    )


def second_step(steps: Iterator) -> Operations:
    """The operations of the second step: whatever is made once is made before."""
    next(steps)
    return operations(lambda: next(steps))


def crafted(method: Method) -> Callable[[Path], Operations]:
    start = {"budget": BUDGET, "aim": AIM, "seed": 0, "workers": Workers(), "resume": {}}

    def count(home: Path) -> Operations:
        seen = view(home)
        if isinstance(method, UC):
            seen = replace(seen, slot_of=seen.group_of, slots=GROUPS)
        return second_step(method.craft(seen, **start))

    return count


def contrasted(batch: int) -> Callable[[Path], Operations]:
    def count(home: Path) -> Operations:
        start = {"seed": 0, "device": CPU, "workers": Workers(), "resume": {}}
        return second_step(contrastive.contrast(LARGE, net=backbone("small", image_size=16, seed=0), steps=4, batch=batch, **start))

    return count


def supervised_epoch(batch: int) -> Callable[[Path], Operations]:
    """An epoch of one step, as its loss is read once."""

    def count(home: Path) -> Operations:
        labels = (np.arange(batch) % GROUPS).astype(np.int64)
        pixels = LARGE[:batch]
        training = Training(pixels=pixels, clean=pixels, labels=labels, classes=GROUPS)
        net = classifier("small", side=16, classes=GROUPS, sample=pixels, seed=0)
        start = {"size": 16, "flips": 0.5, "seed": 0, "device": CPU, "workers": Workers(), "resume": {}}
        return second_step(supervised.train(training, net=net, schedule=Schedule(epochs=3, batch=batch, lr=0.1, decay=5e-4), **start))

    return count


def phases(method: Method, *, train: int) -> Callable[[Path], Operations]:
    """The step that a descent begins with: of one batch, all of its sign steps."""

    def count(home: Path) -> Operations:
        steps = method.craft(view(home), budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={})
        for _ in range(train):
            next(steps)
        return operations(lambda: next(steps))

    return count


STEPS = 4  # of a descent
INNER_CLOCKS = 2 * 4  # of GUE's inner training: two steps of four tensors
DESCENT = MIUE(epochs=1, batch=96, steps=STEPS, network="mlp2")
TARGETED = TAP(epochs=1, batch=96, steps=STEPS, network="mlp2")
LOOPS: dict[str, tuple[Callable[[int], Callable[[Path], Operations]], int]] = {
    "uc": (lambda batch: crafted(UC(steps=4, batch=batch)), 150),
    "uc through": (lambda batch: crafted(UC(steps=4, batch=batch, through="rrc+flip+jpeg+gray+blur+jitter+picn")), 600),
    "simclr": (contrasted, 550),
    "victim": (supervised_epoch, 190),
    "mi-ue trains": (lambda batch: crafted(MIUE(epochs=1, batch=batch, poison_batch=batch, network="mlp2")), 100),
    "tap trains": (lambda batch: crafted(TAP(epochs=2, batch=batch, network="mlp2")), 120),
    "rem trains": (lambda batch: crafted(REM(training_steps=3, batch=batch, steps=1, adversary_steps=1, draws=2, network="mlp2")), 450),
    "mi-ue descends": (lambda batch: phases(replace(DESCENT, poison_batch=batch), train=1), 170 * STEPS),
    "mi-ue descends under crops": (lambda batch: phases(replace(DESCENT, poison_batch=batch, draws=1), train=1), 200 * STEPS),
    "tap descends": (lambda batch: phases(replace(TARGETED, poison_batch=batch), train=1), 80 * STEPS),
    "pil descends": (lambda batch: phases(PIL(epochs=1, batch=batch, steps=STEPS), train=96 // batch), 70 * STEPS),
    "em trains": (lambda batch: crafted(EM(rounds=2, batches_per_round=2, batch=batch, steps=STEPS, network="mlp2")), 110),
    "em descends": (lambda batch: phases(EM(rounds=1, batches_per_round=1, batch=batch, steps=STEPS, network="mlp2"), train=1), 60 * STEPS),
    "tue trains": (lambda batch: crafted(TUE(epochs=3, batch=batch, every=3, steps=STEPS, network="small")), 600),
    "tue descends": (lambda batch: phases(TUE(epochs=3, batch=batch, every=3, steps=STEPS, network="small"), train=3), 620 * STEPS),
    "gue": (lambda batch: crafted(GUE(epochs=4, batch=batch, inner=2, network="mlp2")), 700),
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions to bf16, which some processors take for victims, are not counted."""
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)


@pytest.mark.parametrize("name", LOOPS)
def test_a_step_takes_as_many_operations_whatever_the_batch(name: str, tmp_path: Path) -> None:
    loop, most = LOOPS[name]
    few, many = (loop(batch)(tmp_path / str(batch)) for batch in (32, 48))
    assert few.counts == many.counts
    assert many.total <= most


@pytest.mark.parametrize("name", LOOPS)
def test_no_number_is_read_from_the_device_before_a_step_is_shown(name: str, tmp_path: Path) -> None:
    """But for the mean loss of an epoch of a victim, which is what it yields, and Adam's clocks, which are on the CPU."""
    clocks = len(list(backbone("small", image_size=16, seed=0).parameters())) + len(list(contrastive.projector(8).parameters()))
    found = LOOPS[name][0](48)(tmp_path)
    assert found.syncs == {"victim": 1, "simclr": clocks, "gue": INNER_CLOCKS}.get(name, 0)


def test_reading_the_loss_is_what_waits_for_the_device(tmp_path: Path) -> None:
    steps = UC(steps=2, batch=8).craft(
        replace(view(tmp_path), slot_of=view(tmp_path).group_of, slots=GROUPS), budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={}
    )
    step = next(steps)
    assert operations(lambda: step.loss).syncs == 1
