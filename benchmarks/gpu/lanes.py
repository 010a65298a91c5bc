"""Two lanes on one GPU: victims that train at the same time in processes of their own, against one that has the device to itself."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu.pictures import SIDE
from benchmarks.gpu.rows import Row, Setting
from benchmarks.gpu.worlds import network, training
from ray_ue.config.recipe import Resources
from ray_ue.config.schedules import Schedule
from ray_ue.engine.lanes import train_all
from ray_ue.engine.session import session
from ray_ue.exploiter.supervised import train
from ray_ue.loop import Workers
from ray_ue.storage.artifacts import Folder

PATIENCE = 90.0  # seconds that a lane waits for the other


@dataclass(frozen=True, kw_only=True)
class TimedVictim:
    """A lane's work: it waits until all `of` are there, trains for a while, and tells its images a second."""

    name: str
    setting: Setting
    of: int

    def train(self, *, device: torch.device, workers: Workers, keep: bool, told: Callable[[str], None]) -> dict:
        if (self.setting.device.type == "cuda") != (device.type == "cuda"):
            return {"failed": f"it was given {device}, where {self.setting.device} was asked for"}
        (self.setting.scratch / self.name).touch()
        began = time.monotonic()
        while len(list(self.setting.scratch.glob("lane-*"))) < self.of:
            if time.monotonic() - began > PATIENCE:
                return {"failed": "no other lane began: they do not run side by side"}
            time.sleep(0.01)
        return {"accuracy": 0.0, "rate": images_per_second(self.setting, device=device, seconds=2 * self.setting.seconds)}


def images_per_second(setting: Setting, *, device: torch.device, seconds: float) -> float:
    """Of a `fast` victim, whole epochs for so many seconds at least; the first is not counted."""
    rows = setting.size(200, 20_000)
    schedule = Schedule(epochs=100_000, batch=setting.size(50, 512), lr=0.01, decay=5e-4)
    start = {"size": SIDE, "flips": 0.5, "seed": 0, "device": device, "workers": Workers(), "resume": {}}
    epochs = train(training(setting, rows), net=network("fast", setting), schedule=schedule, **start)
    next(epochs)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        next(epochs)  # its loss is read, which waits for the device
        count += 1
    return count * rows / (time.perf_counter() - began)


def lanes(setting: Setting) -> Iterator[Row]:
    alone = images_per_second(setting, device=setting.device, seconds=setting.seconds)
    jobs = [TimedVictim(name=f"lane-{number}", setting=setting, of=2) for number in range(2)]
    home = Folder.at(str(home_in(setting)))
    with session() as machines:
        facts = train_all(jobs, home=home, machines=machines, resources=Resources(gpus_per_victim=0.5), skipped=0)
    if failed := [fact["failed"] for fact in facts if "failed" in fact]:
        raise ValueError(failed[0])
    rates = [fact["rate"] for fact in facts]
    detail: dict[str, object] = {"each": [round(rate) for rate in rates]}
    yield Row(what="lanes: fast victims in two lanes", value=sum(rates), unit="images/s", bare=alone, least=1.0, detail=detail)


def home_in(setting: Setting) -> Path:
    (home := setting.scratch / "records").mkdir()
    return home
