"""Starts a Ray on this machine."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import ray
from ray._private import services, utils

HUNG = 75.0  # seconds after which a start of Ray, whose own limits are of 30 s, comes to nothing


def start_local(cores: int, *, attempts: int = 3) -> None:
    """Start Ray on this machine; a busy machine can miss Ray's fixed 30 s start limit, so try again."""
    for attempt in range(attempts):
        hung = threading.Event()
        try:
            # More logical CPUs than cores: a small machine must fit a reader, an encoder and a train worker at once.
            with quiet(), ended_after(HUNG, hung), signals_are_ours():
                ray.init(
                    address="local",  # never a cluster that somebody happens to have started here: RAY_ADDRESS asks for that
                    num_cpus=max(4, cores),
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                    log_to_driver=bool(os.environ.get("RAY_UE_WORKER_LOGS")),
                )
            if hung.is_set():
                raise RuntimeError("Ray timed out while it started")
        except Exception as error:
            ray.shutdown()
            if attempt < attempts - 1:
                continue
            if hung.is_set() or "timed out" in str(error):
                failure = f"Ray did not start in {attempts} tries; the machine is too busy or short of memory: try again later"
                raise ValueError(f"{failure}, and see what ray-ue doctor says") from error
            raise
        else:
            return


@contextmanager
def ended_after(seconds: float, hung: threading.Event) -> Iterator[None]:
    """End the processes of a Ray that starts if the block takes longer, and say so in `hung`: compiled code of Ray may wait for them for
    ever, and hears no signal then. Processes that were there before live on. On Linux alone."""
    before = ray_children()

    def end() -> None:
        hung.set()
        for pid in ray_children() - before:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def ray_children() -> set[int]:
    """The processes of a local Ray that this one has started; Linux alone tells them."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (place / "stat").read_bytes().rpartition(b")")[2].split()[1]
            if int(parent) == os.getpid() and any(name in (place / "cmdline").read_bytes() for name in (b"raylet", b"gcs_server")):
                found.add(int(place.name))
    return found


@contextmanager
def signals_are_ours() -> Iterator[None]:
    """A Ray that starts while the block runs answers no signal. Its processes are no part of this process's group, to which service
    managers and `timeout` send theirs: they must not end before this one has answered, and the kernel ends them with it. Nor does it take
    SIGTERM for itself: a part of Ray may swallow what its own handler raises."""
    popen, set_handler = services.ConsolePopen, utils.set_sigterm_handler
    services.ConsolePopen = partial(popen, process_group=0)
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        services.ConsolePopen, utils.set_sigterm_handler = popen, set_handler


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches the terminal while the block runs: Ray's C++ core greets on file descriptor 2. Exceptions still do their work."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
