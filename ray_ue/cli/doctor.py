"""The doctor: looks at this machine before any work and says what to mend. It changes nothing and knows no images."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Literal

import numpy as np

from ray_ue.engine.environment import joins_a_cluster, prepare
from ray_ue.models.pretrained import specs
from ray_ue.storage.artifacts import Folder
from ray_ue.version import PACKAGES, installed

ROOM, WORK_ROOM, SHARED_ROOM, MEMORY, FILES = 5, 2, 1, 4, 1024  # GiB; of a copy, of temporary files, of /dev/shm; GiB of RAM; open files
MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One look: `bad` ends in failure, a `note` is worth knowing; `advice` says what to do."""

    name: str
    state: Literal["ok", "note", "bad"]
    found: str
    advice: str = ""


def examine(folder: str) -> Iterator[Finding]:
    """Every look in turn, each as soon as it is done; copies are meant to be written to `folder`."""
    looks: tuple[Callable[[], Finding], ...] = (
        python,
        packages,
        processors,
        accelerators,
        ray_starts,
        faiss_clusters,
        *(lambda kind=kind: weights(kind) for kind in ("open_clip", "torchvision")),
        lambda: room(folder),
        lambda: writable(folder),
        temporary,
        shared_memory,
        open_files,
    )
    for look in looks:
        yield look()


def python() -> Finding:
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Finding(
        name="Python",
        state="ok" if good else "bad",
        found=f"{version} on {platform.system()} {platform.machine()}",
        advice="use 3.11 or 3.12",
    )


def packages() -> Finding:
    return Finding(name="packages", state="ok", found=", ".join(f"{name} {installed(name)}" for name in PACKAGES))


def processors() -> Finding:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Finding(
        name="processors",
        state="ok" if memory >= MEMORY else "note",
        found=f"{cores} cores, {memory:.0f} GiB of memory",
        advice=f"below {MEMORY} GiB Ray and torch crowd each other out: close other programs, or give --workers local",
    )


def accelerators() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(
            name="GPU",
            state="note",
            found=f"none that torch {torch.__version__} can see",
            advice="everything runs on the CPU: fine for small surrogates and thousands of images; CLIP takes hours. With a GPU in this "
            "machine, nvidia-smi must list it and its driver must suit torch's CUDA",
        )
    devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    value = float((torch.ones(8, 8, device="cuda") @ torch.ones(8, 8, device="cuda")).sum())
    told = ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices)
    return Finding(
        name="GPU",
        state="ok" if value == 512 else "bad",
        found=told,
        advice=f"a product of ones gave {value}: reinstall the driver or torch",
    )


def ray_starts() -> Finding:
    """Start Ray here (or join the cluster that RAY_ADDRESS names), and ask it for one task."""
    prepare()
    from ray_ue.engine.session import answers

    where = os.environ.get("RAY_ADDRESS", "")
    try:
        machines = answers()
    except Exception as error:  # noqa: BLE001 - whatever stops Ray is what the user came to hear
        told = " ".join(str(error).split())[:160] or type(error).__name__
        advice = (
            f"RAY_ADDRESS is {where!r}: is the head running, is its Ray {installed('ray')} too, is its token in RAY_AUTH_TOKEN?"
            if where
            else "free memory and room in the temporary folder, and look into its ray/session_latest/logs"
        )
        return Finding(name="Ray", state="bad", found=told, advice=advice)
    kind = f"joined {where or 'the cluster of this job'}" if joins_a_cluster() else "started here and stopped again"
    return Finding(name="Ray", state="ok", found=f"{kind}: {machines.cpus} CPUs, {machines.gpus} GPUs, {machines.nodes} node(s)")


def faiss_clusters() -> Finding:
    """Cluster two clouds of points, and look whether it finds them."""
    import faiss

    from ray_ue.grouping.kmeans import KMeans

    cloud = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32) + np.repeat([[0.0], [9.0]], 32, axis=0).astype(np.float32)
    centers = np.sort(KMeans(k=2, restarts=1).fit(cloud).mean(1))
    good = abs(centers[0]) < 1 and abs(centers[1] - 9) < 1
    on = f"{faiss.get_num_gpus()} GPU(s)" if faiss.get_num_gpus() else "the CPU"
    return Finding(
        name="faiss",
        state="ok" if good else "bad",
        found=f"version {faiss.__version__} on {on}, finds two clouds of points",
        advice=f"it put them at {centers.round(2)} instead of 0 and 9: only one of faiss-cpu and faiss-gpu may be installed",
    )


def weights(kind: str) -> Finding:
    """Which surrogates of a library can be loaded without network."""
    found, folder = specs.family(kind).cached()
    there = f"{len(found)} in {folder}: {', '.join(found[:4])}{', …' if len(found) > 4 else ''}" if found else f"none in {folder}"
    return Finding(
        name=f"{kind} weights",
        state="ok" if found else "note",
        found=there,
        advice=f"a first run with --surrogate {kind}:… fetches them; without network give a file, {kind}:ARCH@FILE; ssl:small needs none",
    )


def room(folder: str) -> Finding:
    free = Folder.at(folder).free_bytes() / 2**30
    return Finding(
        name="disk",
        state="ok" if free >= ROOM else "note",
        found=f"{'an object store' if free == float('inf') else f'{free:.1f} GiB free'} for {Folder.at(folder).uri}",
        advice="ray-ue protect … --dry-run says what a copy needs; --image-format webp and --resize make it smaller",
    )


def writable(folder: str) -> Finding:
    target = Folder.at(folder)
    there = target.exists() if not target.local else Path(target.uri).exists()
    try:
        target.check_writable()
    except (ValueError, ImportError) as error:
        return Finding(name="writing", state="bad", found=" ".join(str(error).split()), advice="")
    finally:
        if not there and target.local and Path(target.uri).is_dir():
            Path(target.uri).rmdir()
    return Finding(name="writing", state="ok", found=f"a file was written to {target.uri} and removed again")


def temporary() -> Finding:
    """Ray spills objects to the temporary folder and keeps its logs there."""
    free = shutil.disk_usage(gettempdir()).free / 2**30
    return Finding(
        name="temporary",
        state="ok" if free >= WORK_ROOM else "note",
        found=f"{free:.1f} GiB free in {gettempdir()}",
        advice="Ray writes there; set RAY_TMPDIR to a folder on a larger disk",
    )


def shared_memory() -> Finding:
    """Ray's object store lies in /dev/shm on Linux."""
    place = Path("/dev/shm")
    if not place.is_dir():
        return Finding(name="shared memory", state="ok", found="none here: Ray uses the temporary folder")
    free = shutil.disk_usage(place).free / 2**30
    return Finding(
        name="shared memory",
        state="ok" if free >= SHARED_ROOM else "note",
        found=f"{free:.1f} GiB free in {place}",
        advice="Ray falls back to the slower disk: start the container with --shm-size=4g",
    )


def open_files() -> Finding:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Finding(
        name="open files",
        state="ok" if soft >= FILES else "note",
        found=f"at most {soft:,} per process",
        advice=f"Ray opens many: ulimit -n {8 * FILES}",
    )


def line(finding: Finding) -> str:
    """One finding as text; its advice only where something is to be done."""
    told = f"{MARKS[finding.state]} {finding.name:<19} {finding.found}"
    return told + (f"\n{'':25}-> {finding.advice}" if finding.advice and finding.state != "ok" else "")
