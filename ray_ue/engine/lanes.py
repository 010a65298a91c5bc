"""Lanes: Ray Train runs that work through cells side by side. A lane's workers start once and train one cell after another."""

import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from ray_ue.config.recipe import Resources
from ray_ue.engine.devices import assigned_device, keep_freed_memory, own_threads
from ray_ue.engine.machines import Machines, most_cores
from ray_ue.engine.queue import Queue
from ray_ue.engine.train_loop import RETRIES, records_in, this_worker
from ray_ue.loop import Workers
from ray_ue.progress import Progress, counted, say
from ray_ue.storage.artifacts import Folder

POLL = 0.3  # seconds between looks at the queue


@runtime_checkable
class LaneTask(Protocol):
    """What a lane works through; it is pickled, and unpickled by the workers alone."""

    @property
    def name(self) -> str: ...

    def train(self, *, device: torch.device, workers: Workers, keep: bool, told: Callable[[str], None]) -> dict:
        """The facts of the finished job; `failed` among them says why there are no others."""
        ...


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """`count` lanes of `workers` workers with `gpus` GPUs each; `threads` of a worker on a CPU."""

    count: int
    workers: int
    gpus: float
    threads: int

    @classmethod
    def plan(cls, machines: Machines, resources: Resources, *, cells: int) -> "Lanes":
        """As many lanes as the machines have room for: one per GPU share, or one per core of a node without GPUs."""
        workers = resources.workers_per_victim()
        room = machines.shares(resources.gpus_per_victim) if machines.gpus else machines.slots()
        if machines.gpus and workers > 1 and resources.gpus_per_victim < 1:
            share = f"{resources.gpus_per_victim:g} of a GPU"
            raise ValueError(f"--workers {workers} with {share} each could share a GPU, which NCCL refuses; leave one of the two out")
        if workers > (most := room if machines.gpus else machines.cpus):
            kind = f"GPU shares of {resources.gpus_per_victim:g}" if machines.gpus else "CPUs"
            raise ValueError(
                f"--workers {workers} asks for more workers per victim than there are {kind} ({most}); ask for {most} or fewer"
            )
        count = max(1, min(cells, room // workers))
        hosts = machines.hosts()
        threads = max(1, min(hosts.cores // (count * workers), most_cores(hosts.nodes)))
        return cls(count=count, workers=workers, gpus=resources.gpus_per_victim if machines.gpus else 0.0, threads=threads)


def train_all(jobs: Sequence[LaneTask], *, home: Folder, machines: Machines, resources: Resources, skipped: int) -> list[dict]:
    """The facts of every job, in order; each finished cell is an artifact, so a killed grid goes on where it stopped."""
    progress = Progress(stage="evaluate", total=len(jobs) + skipped, unit="cells")
    progress.skip(skipped)
    if resources.workers == "local":
        results = train_here(jobs, keep=resources.keep_weights)
    else:
        results = train_there(jobs, progress, home=home, machines=machines, resources=resources)
    facts: dict[int, dict] = {}
    for number, result in results:
        facts[number], name = result, jobs[number].name
        if "failed" in result:
            say(f"  failed   {name}: {result['failed']}")
        progress.add(1, note=f"{name}: {result['failed'][:40] if 'failed' in result else format(100 * result['accuracy'], '.1f') + ' %'}")
    progress.close()
    return [facts[number] for number in range(len(jobs))]


def train_here(jobs: Sequence[LaneTask], *, keep: bool) -> Iterator[tuple[int, dict]]:
    """One cell after the other in this process: starts fastest, for small grids."""
    for number, job in enumerate(jobs):
        yield number, job.train(device=assigned_device(), workers=Workers(), keep=keep, told=lambda text: None)


def train_there(
    jobs: Sequence[LaneTask], progress: Progress, *, home: Folder, machines: Machines, resources: Resources
) -> Iterator[tuple[int, dict]]:
    """Every lane is a Ray Train run of its own, so that a lost node stops one of them and not the rest."""
    if not jobs:
        return
    lanes = Lanes.plan(machines, resources, cells=len(jobs))
    devices = f"{lanes.gpus:g} GPU" if lanes.gpus else f"{lanes.threads} CPU thread{'s' if lanes.threads > 1 else ''}"
    say(f" evaluate  {counted(len(jobs), 'cell')} in {counted(lanes.count, 'lane')} of {counted(lanes.workers, 'worker')}, {devices} each")
    queue = ray.remote(num_cpus=0)(Queue).remote([pickle.dumps(job) for job in jobs])
    failures: list[BaseException] = []

    def drive(lane: int) -> None:
        try:
            trainer(queue, lane, home=home, lanes=lanes, keep=resources.keep_weights).fit()
        except BaseException as error:  # noqa: BLE001 - a thread must hand over whatever it died of
            failures.append(error)
            queue.give_up.remote(lane)

    threads = [threading.Thread(target=drive, args=(lane,), daemon=True) for lane in range(lanes.count)]
    for thread in threads:
        thread.start()
    left = len(jobs)
    while True:
        running = any(thread.is_alive() for thread in threads)
        news, notes = ray.get(queue.poll.remote())
        yield from news
        left -= len(news)
        if notes and not news:
            progress.add(0, note="; ".join(notes[lane] for lane in sorted(notes)[:2]))
        if not running and not news:
            break
        time.sleep(POLL)
    if left:
        raise failures[0]
    home.remove("ray-train")


def trainer(queue: Any, lane: int, *, home: Folder, lanes: Lanes, keep: bool) -> TorchTrainer:
    share = {"CPU": 1.0, "GPU": lanes.gpus} if lanes.gpus else {"CPU": 1.0}
    return TorchTrainer(
        work,
        train_loop_config={"queue": queue, "lane": lane, "threads": lanes.threads, "keep": keep},
        scaling_config=ScalingConfig(num_workers=lanes.workers, use_gpu=lanes.gpus > 0, resources_per_worker=share),
        run_config=RunConfig(
            name=f"lane-{lane:03d}",
            failure_config=FailureConfig(max_failures=RETRIES),
            **records_in(home.child("ray-train")),
        ),
    )


def work(config: dict[str, Any]) -> None:
    """What every worker of a lane runs: cells until none is left."""
    lane, queue, workers = config["lane"], config["queue"], this_worker()
    torch.set_num_threads(own_threads(config["threads"]))
    keep_freed_memory()
    device = assigned_device()
    noted = {"at": 0.0}

    def told(text: str) -> None:
        if time.monotonic() - noted["at"] > 2:
            noted["at"] = time.monotonic()
            queue.note.remote(lane, text)  # nobody waits for it

    while (ticket := shared(ray.get(queue.next.remote(lane)) if workers.rank == 0 else None, world=workers.world)) is not None:
        job: LaneTask = pickle.loads(ticket[1])  # noqa: S301 - made by the driver of this run
        facts = job.train(device=device, workers=workers, keep=config["keep"], told=told)
        if workers.rank == 0:
            ray.get(queue.done.remote(lane, facts))


def shared(value: Any, *, world: int) -> Any:
    """What the first worker got, on all of them."""
    if world == 1:
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
