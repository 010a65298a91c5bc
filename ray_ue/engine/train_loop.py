"""A resumable training loop under Ray Train: workers, checkpoints and live progress, for any loop that yields steps."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
import ray.train
import torch
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray._private.state import state
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from safetensors.torch import load, save
from torch import Tensor

from ray_ue.engine.devices import assigned_device, keep_freed_memory, torch_threads
from ray_ue.engine.stage import Run
from ray_ue.loop import Step, Workers
from ray_ue.progress import Progress, say
from ray_ue.storage.artifacts import Folder

# A loop is a function of plain values that yields steps; it is called on every worker.
Loop = Callable[..., Iterator[Step]]

CHECKPOINT = "checkpoint.safetensors"
SEEN = "seen/"  # prefix of the numbers that the driver shows; the rest is the state of the loop
EVERY_SECONDS = 20.0  # between checkpoints: a kill loses no more than that and the step that it stops
RETRIES = 3


def run_loop(run: Run, folder: Folder, *, name: str, loop: Loop, arguments: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict]:
    """Run `loop(**arguments, device, workers, resume)` to its last step; return the final state and facts.

    The state is saved every EVERY_SECONDS; a killed worker, or a second call after a killed job, goes on from there.
    """
    check_workers(run)
    count = worker_count(run)
    config = {"loop": loop, "arguments": dict(arguments), "folder": folder}
    resources = {"CPU": 1, "GPU": 1} if run.machines.gpus else {"CPU": 1}
    began = time.monotonic()
    summary = load_checkpoint(folder)[1]
    before, steps = int(summary["step"]), int(summary.get("steps", 0))
    if before:
        say(f"{name:>9}  going on from step {before}")
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=count, use_gpu=run.machines.gpus > 0, resources_per_worker=resources),
        run_config=RunConfig(
            name="ray-train",
            failure_config=FailureConfig(max_failures=RETRIES if count else 0),
            **(records_in(folder.child("ray-train")) if count else {}),
        ),
    )
    with show_progress(folder, name=name, steps=steps, before=before) as progress, restore_sigint():
        try:
            trainer.fit()
        except SystemExit:  # how Ray Train ends the process on Ctrl+C, with exit code 0
            raise KeyboardInterrupt from None
        state, summary = load_checkpoint(folder)
        progress.total = progress.done = int(summary["steps"])
    assert summary["step"] == summary["steps"], f"{name} ended at step {summary['step']} of {summary['steps']}"
    folder.remove("ray-train")
    facts = {"workers": max(count, 1), "seconds": round(time.monotonic() - began, 1), "resumed_at": before}
    return state, facts | {"loss": summary["loss"], "images": int(summary["images"])}


def records_in(folder: Folder) -> dict[str, Any]:
    """The arguments that make a run of Ray Train or Tune keep its own records in `folder`."""
    return {"storage_path": folder.path(), "storage_filesystem": PyFileSystem(FSSpecHandler(folder.fs()))}


@contextmanager
def restore_sigint() -> Iterator[None]:
    """Ray Train takes Ctrl+C over and keeps it after its end, when nothing is left for it to stop: give it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def worker_count(run: Run) -> int:
    """Ray Train workers: 0 means inside this process."""
    return run.machines.train_workers(run.resources)


def check_workers(run: Run) -> None:
    """A `ValueError` for more workers than the cluster has room for: Ray Train would wait for nodes that nobody starts.

    Where an autoscaler could start some, Ray Train itself compares with the most that it may.
    """
    if state.get_max_resources_from_cluster_config():
        return
    kind = "GPU" if run.machines.gpus else "CPU"
    most = int(ray.cluster_resources().get(kind, 0))
    if (count := worker_count(run)) > max(1, most):
        raise ValueError(f"--workers {count} asks for more workers than there are {kind}s ({most}); ask for fewer, or start nodes first")


def load_checkpoint(folder: Folder) -> tuple[dict[str, Tensor], dict[str, float]]:
    """(state, {step, loss, images}) of the last checkpoint; ({}, {"step": 0}) before the first."""
    if not folder.exists(CHECKPOINT):
        return {}, {"step": 0}
    tensors = load(folder.read(CHECKPOINT))
    summary = {key.removeprefix(SEEN): value.item() for key, value in tensors.items() if key.startswith(SEEN)}
    return {key: value for key, value in tensors.items() if not key.startswith(SEEN)}, summary


def train_worker(config: dict[str, Any]) -> None:
    """What every Ray Train worker runs."""
    context, workers = ray.train.get_context(), this_worker()
    keep_freed_memory()
    # Ray gives each worker one OpenMP thread; the workers of this node share its cores.
    with torch_threads(max(1, (os.cpu_count() or 1) // max(1, context.get_local_world_size()))):
        follow_loop(config, workers=workers)


def follow_loop(config: dict[str, Any], *, workers: Workers) -> None:
    """Go on from the last checkpoint to the last step, saving on the way."""
    device = assigned_device()
    folder: Folder = config["folder"]
    resume, _ = load_checkpoint(folder)
    saved = time.monotonic()
    last = None
    for last in config["loop"](**config["arguments"], device=device, workers=workers, resume=resume):
        due = last.saved == "must" or last.step >= last.steps or time.monotonic() - saved >= EVERY_SECONDS
        if workers.rank:
            continue
        if due:
            save_checkpoint(folder, last)
            saved = time.monotonic()
        write_live_step(folder, last)
    if last is None and not resume:
        raise ValueError("the loop made no step")


def save_checkpoint(folder: Folder, step: Step) -> None:
    """Save the state and, in the same file, the step it belongs to."""
    state = {key: value.detach().cpu().contiguous() for key, value in step.state().items()}
    summary = {SEEN + key: torch.tensor(value, dtype=torch.float64) for key, value in step_summary(step).items()}
    folder.write(CHECKPOINT, save(state | summary))


_noted = {"at": 0.0}


def write_live_step(folder: Folder, step: Step) -> None:
    """Leave the step for the driver to show, twice a second at most."""
    if time.monotonic() - _noted["at"] >= 0.5:
        _noted["at"] = time.monotonic()
        folder.write_json("live.json", step_summary(step))


def step_summary(step: Step) -> dict[str, float]:
    return {"step": step.step, "steps": step.steps, "loss": round(step.loss, 6), "images": step.images}


def this_worker() -> Workers:
    """The place of this process among the workers of its Ray Train run."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    return Workers(rank=rank, world=world, all_reduce=all_reduce, barrier=barrier) if world > 1 else Workers()


def all_reduce(value: Tensor) -> Tensor:
    """The sum of `value` over all workers."""
    torch.distributed.all_reduce(value)
    return value


def barrier() -> None:
    """Wait for all workers and for this one's device."""
    device = assigned_device()
    if device.type == "cuda":
        torch.distributed.barrier(device_ids=[device.index])
        torch.cuda.synchronize(device)
    else:
        torch.distributed.barrier()


@contextmanager
def show_progress(folder: Folder, *, name: str, steps: int, before: int) -> Iterator[Progress]:
    """Show the worker's steps while the block runs."""
    progress = Progress(stage=name, total=steps, unit="steps")
    progress.skip(before)
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(0.5):
            try:
                live = folder.read_json("live.json")
            except (OSError, ValueError):
                continue
            progress.total = int(live["steps"])
            progress.add(max(0, int(live["step"]) - progress.done), note=f"loss {live['loss']:.4g}")

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        stop.set()
        thread.join()
        folder.remove("live.json")
    progress.close()
