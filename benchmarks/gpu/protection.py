"""What remains of protection on the device: banks crafted there, and the victims that train on their copies."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.gpu.rows import Row, Setting
from benchmarks.gpu.worlds import BUDGET, crafted, group_view, image_view, surrogate, training
from ray_ue.config.schedules import Schedule
from ray_ue.exploiter.dataset import Training
from ray_ue.exploiter.supervised import accuracy, train
from ray_ue.loop import Workers
from ray_ue.methods.mi_ue import MIUE
from ray_ue.methods.uc import UC
from ray_ue.models.classifiers import classifier
from ray_ue.perturbations import Poison
from ray_ue.perturbations.controls import pattern_per_group
from ray_ue.progress import say

CIFAR = 40_000  # pictures from which on the papers' clean accuracy is a goal


def uc_victims(setting: Setting) -> Iterator[Row]:
    """UC through the default surrogate at 64 pixels, by label, and victims of its copy."""
    seen = training(setting, setting.size(100, min(len(setting.pictures.pixels), 5000)))
    net = surrogate(setting, side=64, device=setting.device)
    view = group_view(setting, rows=min(len(seen.pixels), setting.size(40, 2000)), net=net)
    poison = crafted(UC(steps=setting.size(3, 300), batch=setting.size(20, 100)), view)
    yield from victims(setting, "uc", seen, protected(seen, poison, seen.labels))


def mi_ue_victims(setting: Setting) -> Iterator[Row]:
    """MI-UE by label, and victims of its copy."""
    seen = training(setting, setting.size(64, min(len(setting.pictures.pixels), 5000)))
    view = image_view(setting, setting.scratch / "deltas", rows=len(seen.pixels), device=setting.device)
    arch = "fast" if setting.tiny else "resnet18"
    step, steps = (2.0, 2) if setting.tiny else (0.2, 10)
    method = MIUE(network=arch, epochs=setting.size(1, 15), batch=min(128, len(seen.pixels)), steps=steps, step=step, poison_batch=512)
    yield from victims(setting, "mi-ue", seen, protected(seen, crafted(method, view), np.arange(len(seen.pixels))))


def protected(seen: Training, poison: Poison, slots: np.ndarray) -> Training:
    pixels = np.stack([poison.apply(rgb, int(slot)) for rgb, slot in zip(seen.pixels, slots)])
    return replace(seen, pixels=pixels)


def victims(setting: Setting, name: str, seen: Training, copy: Training) -> Iterator[Row]:
    """A victim of clean rows, of a random pattern per label with the copy's energy, and of the copy."""
    change = copy.pixels.astype(np.float64) - seen.pixels
    levels = max(1, round(float(np.sqrt((change**2).mean()))))
    pattern = pattern_per_group(seen.classes, levels=levels, seed=0)
    right = {
        "clean": share(setting, seen),
        "random pattern": share(setting, protected(seen, pattern, seen.labels)),
        "protected": share(setting, copy),
    }
    most = float(np.abs(change).max())
    yield Row(what=f"{name}: largest change of the copy", value=most, unit="levels", most=BUDGET.levels, least=1, law=True)
    for kind, value in right.items():
        yield Row(what=f"{name}: accuracy of a victim, {kind}", value=value, unit="%")
    yield Row(what=f"{name}: points below clean", value=right["clean"] - right["protected"], unit="points")


def share(setting: Setting, seen: Training) -> float:
    """The clean-test accuracy, in percent, of a `fast` victim."""
    pictures = setting.pictures
    schedule = Schedule(epochs=setting.size(1, 12), batch=100, lr=0.2, decay=5e-4, nesterov=True, warm=0.2, smoothing=0.1)
    return trained(setting, "fast", schedule, seen) if len(pictures.test_labels) else float("nan")


def trained(setting: Setting, arch: str, schedule: Schedule, seen: Training) -> float:
    pictures, side = setting.pictures, setting.pictures.pixels.shape[1]
    net = classifier(arch, side=side, classes=seen.classes, sample=seen.pixels[:2000], seed=0)
    start = {"flips": 0.5, "seed": 0, "device": setting.device, "workers": Workers(), "resume": {}}
    for epoch in train(seen, net=net, schedule=schedule, size=side, **start):
        say(f"  {arch}: epoch {epoch.epoch} of {epoch.epochs}, loss {epoch.loss:.3f}")
    return 100 * accuracy(net, pictures.test_pixels, pictures.test_labels, size=side)


def clean(setting: Setting) -> Iterator[Row]:
    """ResNet-18 on the clean pictures for twelve epochs; on CIFAR-10 the papers' recipes reach 93 % in about as many."""
    rows = len(setting.pictures.pixels)
    seen = training(setting, setting.size(60, rows))
    schedule = Schedule(epochs=setting.size(1, 12), batch=setting.size(30, 512), lr=0.2, decay=5e-4, nesterov=True, warm=0.2, smoothing=0.1)
    value = trained(setting, "resnet18", schedule, seen)
    goal = 93.0 if rows >= CIFAR and not setting.tiny else -np.inf
    detail: dict[str, object] = {"pictures": setting.pictures.name, "rows": len(seen.pixels), "epochs": schedule.epochs}
    yield Row(what=f"clean: accuracy of resnet18 after {schedule.epochs} epochs", value=value, unit="%", least=goal, detail=detail)
