"""The same numbers on another path: mixed precision against fp32, a GPU against a CPU, compiled against plain, torch against faiss."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.rows import Row, Setting
from benchmarks.gpu.timing import spent
from benchmarks.gpu.worlds import BUDGET, crafted, crafting, group_view, image_view, network, surrogate, training
from ray_ue.config.schedules import Schedule
from ray_ue.exploiter import steps
from ray_ue.exploiter.supervised import accuracy, train
from ray_ue.grouping.kmeans import KMeans, Tally, assign, faiss_has_gpu
from ray_ue.loop import Workers
from ray_ue.methods._shared.uc_parameterization import PARAMETERIZATIONS
from ray_ue.methods.mi_ue import MIUE
from ray_ue.methods.uc import UC
from ray_ue.models import precision
from ray_ue.perturbations import Additive, Streamed

CPU = torch.device("cpu")
FAR = 0.15  # of a loss, in nats: seeds alone move it as far
POINTS = 6.0  # percent of accuracy, of some hundred test pictures


def learnt(setting: Setting, *, device: torch.device, compiled: bool = False) -> tuple[list[float], float, float]:
    """(loss of each epoch, test accuracy in percent, seconds) of a `fast` victim."""
    pictures, net = setting.pictures, network("fast", setting)
    schedule = Schedule(epochs=setting.size(2, 8), batch=setting.size(50, 250), lr=0.2, decay=5e-4, nesterov=True, warm=0.2, smoothing=0.1)
    seen = training(setting, setting.size(200, min(len(pictures.pixels), 20_000)))
    start = {"size": pictures.pixels.shape[1], "flips": 0.5, "seed": 0, "device": device, "workers": Workers(), "resume": {}}
    losses: list[float] = []

    def follow() -> None:
        losses.extend(epoch.loss for epoch in train(seen, net=net, schedule=schedule, compiled=compiled, **start))

    seconds = spent(follow, device)
    right = accuracy(net, pictures.test_pixels, pictures.test_labels, size=pictures.pixels.shape[1])
    return losses, 100 * right, seconds


def mixed(setting: Setting) -> Iterator[Row]:
    """A victim in the card's own precision and in fp32."""
    losses, right, seconds = learnt(setting, device=setting.device)
    with mock.patch.object(precision, "precision", return_value=torch.float32):
        wide, wide_right, wide_seconds = learnt(setting, device=setting.device)
    yield from compared("precision: mixed against fp32", losses, right, wide, wide_right)
    yield Row(what="precision: speed of mixed over fp32", value=wide_seconds / seconds, unit="x")


def recording(setting: Setting) -> Iterator[Row]:
    """A victim of recorded steps (CUDA graphs) and of steps that are not; a CPU records none."""
    losses, right, seconds = learnt(setting, device=setting.device)
    with mock.patch.object(steps, "can_be_recorded", return_value=False):
        plain, plain_right, plain_seconds = learnt(setting, device=setting.device)
    yield from compared("record: recorded against plain steps", losses, right, plain, plain_right)
    yield Row(what="record: speed of recorded over plain steps", value=plain_seconds / seconds, unit="x")


def compiling(setting: Setting) -> Iterator[Row]:
    """A victim compiled and not; on a CPU of tiny sizes without the compiler."""
    losses, right, seconds = learnt(setting, device=setting.device)
    other, other_right, first = learnt(setting, device=setting.device, compiled=not setting.tiny)
    _, _, again = learnt(setting, device=setting.device, compiled=not setting.tiny)
    yield from compared("compile: compiled against plain", other, other_right, losses, right)
    yield Row(what="compile: speed of compiled over plain, once compiled", value=seconds / again, unit="x")
    yield Row(what="compile: seconds of compiling", value=max(0.0, first - again), unit="s")


def compared(what: str, losses: list[float], right: float, wide: list[float], wide_right: float) -> Iterator[Row]:
    apart = float(np.abs(np.array(losses) - np.array(wide)).max())
    curves: dict[str, object] = {"first": [round(loss, 4) for loss in losses], "second": [round(loss, 4) for loss in wide]}
    yield Row(what=f"{what}, largest gap of the loss curves", value=apart, unit="nats", most=FAR, law=True, detail=curves)
    gap: dict[str, object] = {"first": round(right, 2), "second": round(wide_right, 2)}
    yield Row(what=f"{what}, accuracy", value=abs(right - wide_right), unit="points", most=POINTS, law=True, detail=gap)


def banks(setting: Setting) -> Iterator[Row]:
    """What a method crafts in few steps on the device, in fp32 and in the card's own precision, against a CPU's: how far apart they are."""
    for name, craft in (("uc", uc_bank), ("mi-ue", mi_ue_bank)):
        there = craft(setting, CPU)
        with mock.patch.object(precision, "precision", return_value=torch.float32):
            wide = craft(setting, setting.device)
        yield bank_row(f"banks: {name}, mean distance of the device in fp32 and a CPU", [wide, there], most=1.0, law=True)
        yield bank_row(f"banks: {name}, the same in mixed precision", [craft(setting, setting.device), there], most=np.inf, law=False)


def uc_bank(setting: Setting, device: torch.device) -> np.ndarray:
    view = group_view(setting, rows=setting.size(40, 200), net=surrogate(setting, side=64, device=device))
    poison = crafted(UC(steps=setting.size(3, 10), batch=20), view)
    assert isinstance(poison, Additive)
    return poison.bank


def mi_ue_bank(setting: Setting, device: torch.device) -> np.ndarray:
    method = MIUE(network="fast", epochs=1, batch=32, poison_batch=32, steps=4, learning_rate=0.01)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        poison = crafted(method, image_view(setting, Path(folder), rows=setting.size(40, 200), device=device))
        assert isinstance(poison, Streamed)
        return np.concatenate(list(poison.blocks()))


def bank_row(what: str, made: list[np.ndarray], *, most: float, law: bool) -> Row:
    first, second = (bank.astype(np.float64) for bank in made)
    opposed = float((np.sign(first) * np.sign(second) < 0).mean())
    detail: dict[str, object] = {"opposed": round(opposed, 4)}
    return Row(what=what, value=float(np.abs(first - second).mean()), unit="levels", most=most, law=law, detail=detail)


def generator(setting: Setting) -> Iterator[Row]:
    """What UC's generators show on the device after the last step, and what is saved of them."""
    net = surrogate(setting, side=64, device=setting.device)
    view = group_view(setting, rows=setting.size(20, 100), net=net)
    method = UC(steps=2, batch=10, parameterization="generator")
    *_, last = crafting(method, view)
    state = last.state()
    saved = method.poison(state, deltas=view.deltas, budget=BUDGET)
    assert isinstance(saved, Additive)
    with torch.no_grad():
        params, latent = (state[name].to(setting.device) for name in ("params", "latent"))
        shown = [PARAMETERIZATIONS["generator"].render(params[i : i + 1], latent[i : i + 1], budget=BUDGET) for i in range(len(params))]
    apart = float((torch.cat(shown).cpu() * 255 - torch.from_numpy(saved.bank)).abs().max())
    yield Row(what="generator: largest change between what is shown and what is saved", value=apart, unit="levels", most=0.51, law=True)


def kmeans(setting: Setting) -> Iterator[Row]:
    """faiss as installed, on the GPU where it can, against Lloyd's iterations in torch on the device, from the same first centres."""
    rows, width, clusters = setting.size(600, 200_000), setting.size(16, 512), setting.size(5, 50)
    rng = np.random.default_rng(0)
    vectors = (rng.normal(0, 3, (clusters, width))[rng.integers(0, clusters, rows)] + rng.normal(0, 1, (rows, width))).astype(np.float32)
    gpu = setting.device.type == "cuda" and faiss_has_gpu()
    fits: list[np.ndarray] = []
    seconds = spent(lambda: fits.append(KMeans(k=clusters, restarts=1).fit(vectors, gpu=gpu)), setting.device)
    fits.append(lloyd(vectors, fits[0], steps=2, device=setting.device))
    lloyd_seconds = spent(lambda: lloyd(vectors, vectors[:clusters], steps=50, device=setting.device), setting.device)
    first, second = (inertia(vectors, centers) for centers in fits)
    detail: dict[str, object] = {"faiss": "GPU" if gpu else "CPU", "rows": rows, "width": width, "clusters": clusters}
    yield Row(
        what="kmeans: inertia after two steps in torch over faiss's", value=second / first, most=1.001, least=0.9, law=True, detail=detail
    )
    yield Row(what=f"kmeans: faiss on the {detail['faiss']}, 50 iterations at most", value=seconds, unit="s", bare=lloyd_seconds)


def lloyd(vectors: np.ndarray, centers: np.ndarray, *, steps: int, device: torch.device) -> np.ndarray:
    """Lloyd's iterations: products, a minimum and sums; a cluster that loses all its vectors keeps its centre."""
    points, means = torch.from_numpy(vectors).to(device), torch.from_numpy(centers.copy()).to(device)
    for _ in range(steps):
        nearest = nearest_of(points, means)
        sums = torch.zeros_like(means).index_add_(0, nearest, points)
        counts = torch.zeros(len(means), device=device).index_add_(0, nearest, torch.ones(len(points), device=device))
        means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], means)
    return means.cpu().numpy()


def nearest_of(points: Tensor, means: Tensor) -> Tensor:
    return ((means**2).sum(1) - 2 * points @ means.T).argmin(1)


def inertia(vectors: np.ndarray, centers: np.ndarray) -> float:
    return Tally.of(vectors, *assign(vectors, centers), k=len(centers)).inertia
