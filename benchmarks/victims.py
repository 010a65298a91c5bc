"""Victims: images/s of the training loop over those of the same network's bare forward and backward pass on random resident tensors."""

import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.measure import Bench, Measure
from ray_ue.config.schedules import Schedule
from ray_ue.exploiter.dataset import Training
from ray_ue.exploiter.supervised import train
from ray_ue.loop import Workers
from ray_ue.models.classifiers import classifier
from ray_ue.models.precision import autocast

SIDE, CLASSES, ROUNDS = 32, 10, 5
# network, images, batch: what fits some seconds on a laptop, and the networks that people really ask about on a GPU
CPU = (("fast", 2000, 100), ("resnet18", 128, 32))
GPU = (("fast", 50_000, 512), ("resnet18", 50_000, 512))


def measure(bench: Bench) -> Iterator[Measure]:
    device = bench.device
    torch.set_num_threads(1)  # one lane of an evaluation, which runs as many lanes as there are cores
    for arch, rows, batch in (GPU if device.type == "cuda" else CPU)[: 1 if bench.quick else 2]:
        ratios, speeds = [], []
        for _ in range(ROUNDS):  # in turn, so that a busy machine slows both
            bare, loop = timed(bare_epoch(arch, rows, batch, device), device), timed(loop_epoch(arch, rows, batch, device), device)
            ratios.append(bare / loop)
            speeds.append(rows / loop)
        detail = {"ratios": [round(ratio, 3) for ratio in ratios], "device": device.type, "rows": rows, "batch": batch}
        what = f"victims: {arch}, training loop over bare forward and backward"
        yield Measure(what=what, value=median(ratios), least=0.9, detail=detail)
        yield Measure(what=f"victims: {arch}, training loop", value=median(speeds), unit="images/s")


def timed(work: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def network(arch: str, device: torch.device) -> torch.nn.Module:
    sample = np.random.default_rng(0).integers(0, 256, (64, SIDE, SIDE, 3), dtype=np.uint8)
    net = classifier(arch, side=SIDE, classes=CLASSES, sample=sample, seed=0)
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def bare_epoch(arch: str, rows: int, batch: int, device: torch.device) -> Callable[[], None]:
    """As many batches as an epoch has, of one resident batch: no data, no update, nothing but the network."""
    net = network(arch, device).train()
    images = torch.rand(batch, 3, SIDE, SIDE, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (batch,), device=device)

    def work() -> None:
        for _ in range(rows // batch):
            with autocast(device):
                logits = net(images)
            net.zero_grad()
            F.cross_entropy(logits.float(), labels).backward()

    return work


def loop_epoch(arch: str, rows: int, batch: int, device: torch.device) -> Callable[[], None]:
    """One epoch of the victim loop, as an evaluation runs it."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8)
    training = Training(pixels=pixels, clean=pixels, labels=rng.integers(0, CLASSES, rows), classes=CLASSES)
    schedule = Schedule(epochs=1, batch=batch, lr=0.05, decay=5e-4)
    net = network(arch, device)

    def work() -> None:
        setting = {"size": SIDE, "flips": 0.5, "seed": 0, "device": device, "workers": Workers(), "resume": {}}
        for _ in train(training, net=net, schedule=schedule, **setting):
            pass

    return work
