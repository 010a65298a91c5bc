"""The Ray session, and the one way in which stages stream work through Ray Data."""

import ctypes
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from ray_ue.engine.environment import joins_a_cluster
from ray_ue.engine.joining import join_cluster
from ray_ue.engine.local_ray import start_local
from ray_ue.engine.machines import READER, Machines, Node
from ray_ue.engine.session_folders import claim, discard, starting, temporary_root
from ray_ue.engine.session_folders import sweep as sweep_sessions
from ray_ue.engine.watchdog import watch
from ray_ue.progress import say

# Seconds without a result, once a node is lost, after which a stream is given up.
STALLED = float(os.environ.get("RAY_UE_STALLED_S", "300"))

RETRIES = 10  # of a call whose process died: more often that is no accident, but a lack of memory


@contextmanager
def session(*, part: float = 1.0) -> Iterator[Machines]:
    """Join the Ray cluster that RAY_ADDRESS names or this job runs on, else start a local one and stop it afterwards.

    Yields the given part of the machines that are there.
    """
    if ray.is_initialized():
        yield measure().part(part)
        return
    mark = None
    joining, cores, on_termination = joins_a_cluster(), os.cpu_count() or 1, signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            say("      ray  " + ("joining the running Ray cluster" if joining else f"starting locally on {cores} cores"))
            if joining:
                join_cluster()
            else:
                with starting(temporary_root() / "ray"):
                    start_local(cores)
                    mark = claim(session_folder())
    except SystemExit:  # how Ray answers SIGTERM while it starts
        if callable(on_termination):
            on_termination(signal.SIGTERM, None)
        raise
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_termination)  # Ray's core has put a handler of its own there, which prints addresses
    try:
        yield measure().part(part)
    finally:
        with undisturbed():
            ray.shutdown()
    if mark:
        discard(mark)  # after an error it stays for who wants to read the logs, until the next session starts


def session_folder() -> Path:
    """Where the local Ray keeps its logs and sockets; older ones of ours, whose processes are gone, are removed from beside it."""
    folder = Path(ray.nodes()[0]["ObjectStoreSocketName"]).parents[1]
    sweep_sessions(folder.parent)
    return folder


@contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl+C or SIGTERM waits until the block has ended: Ray that is stopped half-way leaves processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    over = threading.Event()
    keeper = threading.Thread(target=_keep_ignoring, args=(over,), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep_ignoring(over: threading.Event) -> None:
    """Ray's core gives SIGTERM its default action back while it ends, which would kill this process half-way: take it away again."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    while not over.wait(0.002):
        libc.signal(signal.SIGTERM, int(signal.SIG_IGN))


def answers() -> Machines:
    """What Ray has here, once it has run a task of ours."""
    with session() as machines:
        task = ray.remote(lambda: os.getpid())
        assert ray.get(task.remote()) != os.getpid(), "a task runs in a process of its own"
        return machines


def measure() -> Machines:
    """Read the nodes of the connected Ray that work can run on; warn when a GPU is there that Ray does not offer."""
    here, alive_nodes = ray.util.get_node_ip_address(), [node for node in ray.nodes() if node["Alive"]]
    busy = [node for node in alive_nodes if node["Resources"].get("CPU", 0) >= 1]
    nodes = tuple(describe_node(node["Resources"], own=node["NodeManagerAddress"] == here) for node in busy)
    if not nodes:
        say(
            "  warning  no node offers a CPU now; a run plans for what is there when it starts, so start workers first: min_workers above 0"
        )
    machines = Machines(nodes=nodes or (Node(cpus=1, gpus=0, cores=1),))
    if not machines.gpus and gpu_here():
        say("  warning  this machine has a GPU that Ray does not offer: start Ray with --num-gpus; until then everything runs on the CPU")
    return machines


def describe_node(resources: dict[str, float], *, own: bool) -> Node:
    """A node by what Ray says of it; of this machine the cores are known, and Ray may have been given more logical CPUs than that."""
    cpus = int(resources["CPU"])
    cores = min(cpus, os.cpu_count() or 1) if own else cpus
    return Node(cpus=cpus, gpus=int(resources.get("GPU", 0)), cores=cores, memory=resources.get("memory", inf))


def gpu_here() -> bool:
    import torch

    return torch.cuda.is_available()


def configure_data(block_bytes: int) -> None:
    """Quiet, and with small blocks: an item is a chunk of at most some tens of MB."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = block_bytes
    context.enable_fallback_to_arrow_object_ext_type = False  # never pickle a column
    for name in ("ray.data", "ray.data.dataset"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors come back as exceptions


def stream(
    items: list[dict],
    *,
    read: Callable[[pa.Table], Iterator[pa.Table]] | None = None,
    work: Callable,
    arguments: dict[str, object],
    cpus: float,
    gpus: float = 0.0,
    actors: int = 0,
    tasks: int = 0,
    block_bytes: int = 64 * 2**20,
) -> Iterator[dict]:
    """Stream `items` through an optional `read` task and then `work`, and yield its result rows as they come.

    `work` is a class (its instances are `actors` long-lived actors, built from `arguments`) or a generator function that is
    called with `arguments` in tasks, at most `tasks` at a time. Each call gets a table of one item. A failed call is retried
    elsewhere when its process died, `RETRIES` times; an error in it ends the stream with that error. `block_bytes` of 1 passes every
    table that `work` yields on at once, which is what live progress needs.
    """
    if not items:
        return
    configure_data(block_bytes)
    one_item: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "zero_copy_batch": True}
    data = ray.data.from_items(items, override_num_blocks=len(items))
    if read is not None:
        # Reading waits on disks and networks: it hardly takes a CPU, and stays a task of its own.
        # One more reader than encoders keeps them fed; every further process would hold memory for nothing.
        readers = TaskPoolStrategy(size=min(actors + 1, len(items)))
        data = data.map_batches(read, compute=readers, num_cpus=READER, **one_item)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray 2.64 takes away what bounds retries, and has no other way yet
        if isinstance(work, type):
            pool = ActorPoolStrategy(size=actors)
            lives: dict[str, Any] = {"max_restarts": RETRIES, "max_task_retries": RETRIES, "num_gpus": gpus or None}
            data = data.map_batches(work, compute=pool, fn_constructor_kwargs=arguments, num_cpus=cpus, **lives, **one_item)
        else:
            limit = TaskPoolStrategy(size=min(tasks, len(items))) if tasks else None
            data = data.map_batches(work, compute=limit, fn_kwargs=arguments, num_cpus=cpus, max_retries=RETRIES, **one_item)
    batches = iter(data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    for batch in watch(batches, trouble=lost_since(alive()), seconds=STALLED):
        yield from cast(pa.Table, batch).to_pylist()


def alive() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def lost_since(before: set[str]) -> Callable[[], str]:
    """What to say when one of these nodes is gone. What was asked of a node that cannot be reached may never be answered:
    https://github.com/ray-project/ray/issues/63405. A node whose processes have died costs nothing of the kind."""

    def trouble() -> str:
        if not (gone := len(before - alive())):
            return ""
        return f"{gone} of {len(before)} nodes were lost, and what they were asked never came back; run the same line again: it continues"

    return trouble
