"""The doctor: checks of this machine, with advice for each problem. It changes nothing."""

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

ROOM, WORK_ROOM, SHARED_ROOM, MEMORY, FILES = (
    5,
    2,
    1,
    4,
    1024,
)  # GiB free for a copy, for temporary files, in /dev/shm; GiB of RAM; open files
MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check: `bad` makes runs fail, a `note` may slow them; `advice` says what to do."""

    name: str
    state: Literal["ok", "note", "bad"]
    result: str
    advice: str = ""


def examine(folder: str) -> Iterator[Finding]:
    """Run every check, yielding each finding at once; `folder` is where copies will be written."""
    checks: tuple[Callable[[], Finding], ...] = (
        check_python,
        list_packages,
        check_processors,
        check_gpu,
        check_ray,
        check_faiss,
        *(lambda kind=kind: check_weights(kind) for kind in ("open_clip", "torchvision")),
        lambda: check_disk(folder),
        lambda: check_writing(folder),
        check_temporary_folder,
        check_shared_memory,
        check_open_files,
    )
    for check in checks:
        yield check()


def check_python() -> Finding:
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Finding(
        name="Python",
        state="ok" if good else "bad",
        result=f"{version} on {platform.system()} {platform.machine()}",
        advice="use 3.11 or 3.12",
    )


def list_packages() -> Finding:
    return Finding(name="packages", state="ok", result=", ".join(f"{name} {installed(name)}" for name in PACKAGES))


def check_processors() -> Finding:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Finding(
        name="processors",
        state="ok" if memory >= MEMORY else "note",
        result=f"{cores} cores, {memory:.0f} GiB of memory",
        advice=f"Ray and torch together need {MEMORY} GiB or more: close other programs, or use --workers local",
    )


def check_gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(
            name="GPU",
            state="note",
            result=f"torch {torch.__version__} sees none",
            advice="all work runs on the CPU, which suits small surrogates and thousands of images; CLIP takes hours. If this machine has "
            "a GPU, nvidia-smi must list it and its driver must support torch's CUDA",
        )
    devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    value = float((torch.ones(8, 8, device="cuda") @ torch.ones(8, 8, device="cuda")).sum())
    names = ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices)
    return Finding(
        name="GPU",
        state="ok" if value == 512 else "bad",
        result=names,
        advice=f"a product of matrices of ones gave {value} instead of 512: reinstall the driver or torch",
    )


def check_ray() -> Finding:
    """Start Ray (or join the cluster of RAY_ADDRESS), and run one task."""
    prepare()
    from ray_ue.engine.session import answers

    address = os.environ.get("RAY_ADDRESS", "")
    try:
        machines = answers()
    except Exception as error:  # noqa: BLE001 - any reason that stops Ray is a finding
        message = " ".join(str(error).split())[:160] or type(error).__name__
        advice = (
            f"RAY_ADDRESS is {address!r}: is the head running, does it run Ray {installed('ray')}, is its token in RAY_AUTH_TOKEN?"
            if address
            else "free memory and disk space in the temporary folder, and read its ray/session_latest/logs"
        )
        return Finding(name="Ray", state="bad", result=message, advice=advice)
    kind = f"joined {address or 'the cluster of this job'}" if joins_a_cluster() else "started and stopped"
    return Finding(name="Ray", state="ok", result=f"{kind}: {machines.cpus} CPUs, {machines.gpus} GPUs, {machines.nodes} node(s)")


def check_faiss() -> Finding:
    """Check that k-means finds two clouds of points."""
    import faiss

    from ray_ue.grouping.kmeans import KMeans

    cloud = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32) + np.repeat([[0.0], [9.0]], 32, axis=0).astype(np.float32)
    centers = np.sort(KMeans(k=2, restarts=1).fit(cloud).mean(1))
    good = abs(centers[0]) < 1 and abs(centers[1] - 9) < 1
    device = f"{faiss.get_num_gpus()} GPU(s)" if faiss.get_num_gpus() else "the CPU"
    return Finding(
        name="faiss",
        state="ok" if good else "bad",
        result=f"version {faiss.__version__} on {device}, clusters correctly",
        advice=f"it found the centres {centers.round(2)} instead of 0 and 9: install only one of faiss-cpu and faiss-gpu",
    )


def check_weights(kind: str) -> Finding:
    """List the surrogates of a library that can be loaded without a network connection."""
    names, folder = specs.family(kind).cached()
    listing = f"{len(names)} in {folder}: {', '.join(names[:4])}{', …' if len(names) > 4 else ''}" if names else f"none in {folder}"
    return Finding(
        name=f"{kind} weights",
        state="ok" if names else "note",
        result=listing,
        advice=f"the first run with --surrogate {kind}:… downloads them; without network use {kind}:ARCH@FILE; ssl:small needs none",
    )


def check_disk(folder: str) -> Finding:
    free = Folder.at(folder).free_bytes() / 2**30
    return Finding(
        name="disk",
        state="ok" if free >= ROOM else "note",
        result=f"{'an object store' if free == float('inf') else f'{free:.1f} GiB free'} for {Folder.at(folder).uri}",
        advice="ray-ue protect … --dry-run shows how much a copy needs; --image-format webp and --resize reduce it",
    )


def check_writing(folder: str) -> Finding:
    target = Folder.at(folder)
    existed = target.exists() if not target.local else Path(target.uri).exists()
    try:
        target.check_writable()
    except (ValueError, ImportError) as error:
        return Finding(name="writing", state="bad", result=" ".join(str(error).split()), advice="")
    finally:
        if not existed and target.local and Path(target.uri).is_dir():
            Path(target.uri).rmdir()
    return Finding(name="writing", state="ok", result=f"a test file in {target.uri} could be written and removed")


def check_temporary_folder() -> Finding:
    """Ray writes spilled objects and logs to the temporary folder."""
    free = shutil.disk_usage(gettempdir()).free / 2**30
    return Finding(
        name="temporary",
        state="ok" if free >= WORK_ROOM else "note",
        result=f"{free:.1f} GiB free in {gettempdir()}",
        advice="Ray writes to it; set RAY_TMPDIR to a folder on a larger disk",
    )


def check_shared_memory() -> Finding:
    """Ray keeps its object store in /dev/shm on Linux."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding(name="shared memory", state="ok", result="none; Ray uses the temporary folder")
    free = shutil.disk_usage(folder).free / 2**30
    return Finding(
        name="shared memory",
        state="ok" if free >= SHARED_ROOM else "note",
        result=f"{free:.1f} GiB free in {folder}",
        advice="Ray uses the slower disk instead: start the container with --shm-size=4g",
    )


def check_open_files() -> Finding:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Finding(
        name="open files",
        state="ok" if soft >= FILES else "note",
        result=f"at most {soft:,} per process",
        advice=f"Ray needs many: run ulimit -n {8 * FILES}",
    )


def format_finding(finding: Finding) -> str:
    """A finding as text, with its advice unless the state is ok."""
    text = f"{MARKS[finding.state]} {finding.name:<19} {finding.result}"
    return text + (f"\n{'':25}-> {finding.advice}" if finding.advice and finding.state != "ok" else "")
