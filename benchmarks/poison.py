"""Poison: MI-UE's sign steps over the same network's bare forward and backward pass, and what memory a worker's rows take."""

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.lib.format import open_memmap

from benchmarks.data import origin, photos, thumbnails
from benchmarks.measure import Bench, Measure, cores
from ray_ue.images.codec import Limits, decode_square
from ray_ue.loop import Workers
from ray_ue.methods._shared.delta_updates import open_deltas
from ray_ue.methods._shared.sampler import RunningMean, Sampler
from ray_ue.methods._shared.source_model import SourceModel
from ray_ue.methods.base import View
from ray_ue.methods.mi_ue import MIUE
from ray_ue.models.pretrained.surrogates import blank
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable, pools_for
from ray_ue.storage.artifacts import Folder

SIDE, GROUPS, ROUNDS = 32, 10, 5
BUDGET = Budget(levels=8)
# network, rows, rows of a batch
CPU = (("fast", 1024, 512), ("resnet18", 128, 128))
GPU = (("fast", 50_000, 512), ("resnet18", 50_000, 512))
FEW, MANY = 4_096, 40_960  # batches of 512 in both


def measure(bench: Bench) -> Iterator[Measure]:
    device = bench.device
    torch.set_num_threads(cores())
    for network, rows, batch in (GPU if device.type == "cuda" else CPU)[: 1 if bench.quick else 2]:
        yield from pace(network, rows, batch, bench, device=device)
    yield from memory(bench, device=device)
    yield Measure(what="poison: image passes of MI-UE on 50,000 images", value=MIUE().passes(50_000), unit="images")


def pace(network: str, rows: int, batch: int, bench: Bench, *, device: torch.device) -> Iterator[Measure]:
    """One pass of sign steps over all rows, and as many bare passes, in turn, so that a busy machine slows both."""
    method = MIUE(network=network, poison_batch=batch, epochs=100, steps=10 if device.type == "cuda" else 3)
    run = Pass(method, view(rows, bench, bench.scratch / network, device=device))
    ratios, speeds = [], []
    for _ in range(ROUNDS):
        bare, made = run.bare(batch), run.move()
        ratios.append(bare / made)
        speeds.append(rows * method.steps / made)
    detail: dict[str, object] = {
        "ratios": [round(one, 3) for one in ratios],
        "device": device.type,
        "rows": rows,
        "batch": batch,
        "steps": method.steps,
    }
    what = f"poison: {network}, sign steps over bare forward and backward"
    yield Measure(what=what, value=median(ratios), least=0.85, detail=detail | {"images": origin(bench.photos)})
    yield Measure(what=f"poison: {network}, sign steps", value=median(speeds), unit="images/s")
    if device.type == "cuda" and network == "resnet18":  # on a CPU it would be days
        minutes = MIUE().passes(50_000) / median(speeds) / 60
        yield Measure(what=f"poison: {network}, MI-UE on 50,000 images at that speed", value=minutes, unit="minutes", most=20.0)


def memory(bench: Bench, *, device: torch.device) -> Iterator[Measure]:
    """Memory of a worker's own, without the page cache, that ten times the rows add, as a share of what these rows' deltas take."""
    held: dict[int, int] = {}
    for turn, rows in enumerate((FEW, FEW, MANY)):  # the first fills the allocator's own stock
        Pass(MIUE(network="small", steps=1), view(rows, bench, bench.scratch / f"memory-{turn}", device=device)).move()
        held[rows] = anonymous()
    table = (MANY - FEW) * 3 * SIDE**2 * 4
    share = max(0, held[MANY] - held[FEW]) / table
    detail: dict[str, object] = {
        "rows": [FEW, MANY],
        "anonymous_mib": [round(held[rows] / 2**20) for rows in (FEW, MANY)],
        "table_mib": round(table / 2**20),
    }
    yield Measure(what="poison: a worker's memory for more rows / their fp32 deltas", value=share, most=0.1, detail=detail)
    yield from two_batches(bench, device=device)


def two_batches(bench: Bench, *, device: torch.device) -> Iterator[Measure]:
    """The most memory of its own that a worker takes for its rows, over the most that the same network's bare pass of two batches takes."""
    run = Pass(MIUE(network="small", steps=1), view(FEW, bench, bench.scratch / "batches", device=device))
    two = peak(lambda: run.bare(2 * run.method.poison_batch), device=device)
    made = peak(run.move, device=device)
    detail: dict[str, object] = {"two_batches_mib": round(two / 2**20), "sign_steps_mib": round(made / 2**20), "rows": FEW, "batch": 512}
    yield Measure(what="poison: a worker's most memory / two batches through the network", value=made / two, most=1.0, detail=detail)


class Pass:
    """One method at work on one view."""

    def __init__(self, method: MIUE, seen: View) -> None:
        self.method, self.seen = method, seen
        self.sampler = Sampler(view=seen, workers=Workers(), seed=0)
        self.deltas = open_deltas(seen, budget=BUDGET, workers=Workers(), resume={})
        self.source = SourceModel.create(method.network, sampler=self.sampler, decay=1e-4, resume={}).freeze()
        self.epoch = 0

    def move(self) -> float:
        """Seconds of one pass of sign steps."""
        wait(self.seen.surrogate.device)
        began = time.perf_counter()
        method, begin = self.method, partial(self.method.begin, self.sampler, self.epoch)
        batches, loss = self.sampler.pooled(self.epoch, batch=method.poison_batch), partial(method.mi_loss, self.source, RunningMean())
        for _ in self.deltas.descend(batches, begin, loss, steps=method.steps, rate=method.step / 255):
            pass
        wait(self.seen.surrogate.device)
        self.epoch += 1
        return time.perf_counter() - began

    def bare(self, batch: int) -> float:
        """Seconds of as many slopes of the features with respect to one resident batch: no data, no loss, no table."""
        images = torch.rand((batch, 3, SIDE, SIDE), device=self.seen.surrogate.device).contiguous(memory_format=torch.channels_last)
        self.source.freeze()
        wait(images.device)
        began = time.perf_counter()
        for _ in range(len(self.seen.pixels) // batch * self.method.steps):
            moved = images.clone().requires_grad_()
            torch.autograd.grad(self.source.features(moved).sum(), moved)
        wait(images.device)
        return time.perf_counter() - began


def view(rows: int, bench: Bench, folder: Path, *, device: torch.device) -> View:
    """Small photographs over and over, in a memory-mapped file as a run has them, with groups by turns."""
    folder.mkdir(parents=True)
    pixels = open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(rows, SIDE, SIDE, 3))
    found = thumbnails(photos(bench.photos, count=64))
    few = np.stack([decode_square(next(found), size=SIDE, limits=Limits()) for _ in range(512)])
    for begin in range(0, rows, len(few)):
        pixels[begin : begin + len(few)] = few[: rows - begin]
    pixels.flush()
    told = (np.arange(rows) % GROUPS).astype(np.int32)
    table = DeltaTable(home=Folder.at(str(folder / "deltas")), rows=rows, side=SIDE, pools=pools_for(rows, batch=512), budget=BUDGET)
    return View(
        pixels=np.load(folder / "pixels.npy", mmap_mode="r"),
        slot_of=np.arange(rows, dtype=np.int32),
        slots=rows,
        group_of=told,
        groups=GROUPS,
        centers=np.zeros((GROUPS, 0), np.float32),
        surrogate=blank(SIDE, device=device),
        deltas=table,
    )


def anonymous() -> int:
    """Bytes of this process that are no file's pages."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def peak(work: Callable[[], object], *, device: torch.device) -> int:
    """The most bytes of its own that some work takes at once: on a GPU as its allocator counts them, else looked at every millisecond."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free but kept would hide what the work takes
    before, seen, done = anonymous(), [0], threading.Event()

    def look_on() -> None:
        while not done.wait(0.001):
            seen.append(anonymous())

    watcher = threading.Thread(target=look_on)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(seen) - before


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
