"""Speeds of the loops that a run spends its time in, each over a bare loop of the same network on the same device."""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.gpu import bare
from benchmarks.gpu.rows import Row, Setting
from benchmarks.gpu.timing import busy_share, in_turn, rate, spent
from benchmarks.gpu.worlds import crafting, group_view, image_view, network, surrogate, training
from ray_ue.config.schedules import Schedule
from ray_ue.exploiter.supervised import train
from ray_ue.loop import Step, Workers
from ray_ue.methods.mi_ue import MIUE
from ray_ue.methods.uc import UC
from ray_ue.models import contrastive
from ray_ue.models.normalization import normalise
from ray_ue.models.precision import autocast
from ray_ue.models.small import backbone

PAPER = 50_000  # images of MI-UE's paper


def resnet18(setting: Setting) -> Iterator[Row]:
    yield from victim(setting, "resnet18", batch=setting.size(16, 256), rows=setting.size(32, 50_000))


def fast(setting: Setting) -> Iterator[Row]:
    yield from victim(setting, "fast", batch=setting.size(50, 512), rows=setting.size(200, 50_000))


def victim(setting: Setting, arch: str, *, batch: int, rows: int) -> Iterator[Row]:
    """The victim's own loop over the bare loop, and how busy the first keeps the device."""
    device, pictures = setting.device, setting.pictures
    side, seen = pictures.pixels.shape[1], training(setting, rows)
    schedule = Schedule(epochs=10_000, batch=batch, lr=bare.LR, decay=5e-4, nesterov=True)
    start = {"size": side, "flips": 0.5, "seed": 0, "device": device, "workers": Workers(), "resume": {}}
    epochs = train(seen, net=network(arch, setting), schedule=schedule, **start)
    next(epochs)

    def step(compiled: bool) -> bare.Step:
        net = network(arch, setting)
        return bare.training_step(net, batch=batch, side=side, classes=pictures.classes, device=device, compiled=compiled)

    def measure(work: bare.Step) -> float:
        return rate(work, items=batch, seconds=setting.seconds, device=device)

    best, kind = bare.fastest(step, measure, compiling=device.type == "cuda")
    loop = max(rows / spent(lambda: next(epochs), device) for _ in range(2))
    detail: dict[str, object] = {"batch": batch, "rows": rows, "bare": kind}
    yield Row(what=f"{arch}: training loop", value=loop, unit="images/s", bare=best, least=0.9, detail=detail)
    yield Row(what=f"{arch}: share of the time in which the device works", value=busy_share(lambda: next(epochs), device), least=0.8)


def mi_ue(setting: Setting) -> Iterator[Row]:
    """Sign steps of MI-UE over the same network's bare slopes, and how long the paper's 100 epochs would take."""
    batch, rows = setting.size(32, 512), setting.size(64, 8192)
    method = MIUE(network="resnet18", poison_batch=batch, batch=min(batch, 128), epochs=1000, steps=setting.size(2, 10))
    view = image_view(setting, setting.scratch / "deltas", rows=rows, device=setting.device)
    steps = crafting(method, view)
    passes = rows * method.steps

    def epoch() -> tuple[float, float]:
        """Seconds of the network's epoch and of the sign steps that follow."""
        return spent(lambda: phase(steps), setting.device), spent(lambda: phase(steps), setting.device)

    net = frozen(network("resnet18", setting), setting.device)
    bare_step = bare.slope_step(net, batch=batch, side=view.pixels.shape[1], device=setting.device)
    epoch()
    best = rate(bare_step, items=batch, seconds=setting.seconds, device=setting.device)
    training_time, descent = min((epoch() for _ in range(2)), key=sum)
    yield Row(
        what="mi-ue: sign steps", value=passes / descent, unit="passes/s", bare=best, least=0.85, detail={"batch": batch, "rows": rows}
    )
    minutes = (training_time + descent) / rows * PAPER * 100 / 60 * (10 / method.steps)
    yield Row(what="mi-ue: the paper's 100 epochs of 50,000 images", value=minutes, unit="minutes", most=20.0)


def phase(steps: Iterator[Step]) -> None:
    """One phase of an epoch: its last step must be saved."""
    for step in steps:
        if step.saved == "must":
            return


def frozen(net: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The outputs of a frozen network of ours for [0, 1] images."""
    net = net.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]

    def outputs(images: Tensor) -> Tensor:
        with autocast(device):
            return net(normalise(images)).float()

    return outputs


def uc(setting: Setting) -> Iterator[Row]:
    """UC at 128 pixels through the default surrogate, over that surrogate's bare slopes at its best batch."""
    side, batch = setting.size(64, 128), setting.size(16, 100)
    net = surrogate(setting, side=side, device=setting.device)
    steps = crafting(UC(steps=100_000, batch=batch), group_view(setting, rows=setting.size(40, 1000), net=net))
    best = {
        size: rate(bare.slope_step(net.features, batch=size, side=net.size, device=setting.device), items=size, seconds=setting.seconds / 2,
                   device=setting.device)
        for size in ((16, 32) if setting.tiny else (100, 256, 512, 1024))
    }  # fmt: skip
    each = next(steps).images
    loop = rate(lambda: next(steps), items=each, seconds=setting.seconds, device=setting.device)
    top = max(best, key=lambda size: best[size])
    detail: dict[str, object] = {
        "batch": each,
        "side": net.size,
        "bare_batch": top,
        "bare": {str(size): round(it) for size, it in best.items()},
    }
    yield Row(what="uc: steps through the default surrogate", value=loop, unit="images/s", bare=best[top], least=0.9, detail=detail)


def simclr(setting: Setting) -> Iterator[Row]:
    """Contrastive steps of `ssl:small` over bare forward and backward passes of two views."""
    batch, side = setting.size(32, 256), setting.pictures.pixels.shape[1]
    pixels, _ = setting.pictures.rows(setting.size(64, 10_000))
    start = {"seed": 0, "device": setting.device, "workers": Workers(), "resume": {}}
    steps = contrastive.contrast(pixels, net=backbone("small", image_size=side, seed=0), steps=10_000, batch=batch, **start)
    body = nn.Sequential(backbone("small", image_size=side, seed=0), nn.LazyLinear(10))
    body(torch.zeros((2, 3, side, side)))
    bare_step = bare.training_step(body, batch=2 * batch, side=side, classes=10, device=setting.device, compiled=False)
    loop, best = in_turn(
        lambda: rate(lambda: next(steps), items=1, seconds=setting.seconds / 2, device=setting.device),
        lambda: rate(bare_step, items=1, seconds=setting.seconds / 2, device=setting.device),
    )
    yield Row(what="simclr: steps of ssl:small", value=loop, unit="steps/s", bare=best, least=0.8, detail={"batch": batch})
    share = busy_share(lambda: list(itertools.islice(steps, 5)), setting.device)
    yield Row(what="simclr: share of the time in which the device works", value=share, least=0.8)
