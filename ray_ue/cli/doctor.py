"""The doctor: checks of this machine, with advice for each problem. It changes nothing."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ray_ue.engine.environment import joins_a_cluster, prepare
from ray_ue.engine.session_folders import temporary_root
from ray_ue.models.pretrained import specs
from ray_ue.progress import counted, format_bytes
from ray_ue.storage.artifacts import Folder
from ray_ue.version import FAISS, PACKAGES, installed, installed_or_empty

ROOM, WORK_ROOM, SHARED_ROOM = 5, 2, 1  # GiB free for a copy, for temporary files, in /dev/shm
STORE = "for S3 set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, on all nodes; other stores have settings of their own"
FULL = 0.05  # GiB: with less no run gets far
MEMORY = 4  # GiB of RAM
FILES = 1024  # open files
FAISS_NAMES = ("faiss-gpu", "faiss-cpu")
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
    checks: dict[str, Callable[[], Finding]] = {
        "Python": check_python,
        "packages": list_packages,
        "processors": check_processors,
        "GPU": check_gpu,
        "Ray": check_ray,
        "faiss": check_faiss,
        **{f"{kind} weights": partial(check_weights, kind) for kind in ("timm", "open_clip", "torchvision")},
        "disk": partial(check_disk, folder),
        "writing": partial(check_writing, folder),
        "temporary": check_temporary_folder,
        "shared memory": check_shared_memory,
        "open files": check_open_files,
    }
    for name, check in checks.items():
        try:
            yield check()
        except Exception as error:  # noqa: BLE001 - what stops a check is what it found
            advice = STORE if "://" in folder and name in ("disk", "writing") else ""
            yield Finding(name=name, state="bad", result=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}", advice=advice)


def note_unless(good: bool, name: str, result: str, *, advice: str) -> Finding:
    return Finding(name=name, state="ok" if good else "note", result=result, advice=advice)


def bad_unless(good: bool, name: str, result: str, *, advice: str) -> Finding:
    return Finding(name=name, state="ok" if good else "bad", result=result, advice=advice)


def check_python() -> Finding:
    result = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return bad_unless((3, 11) <= sys.version_info[:2] < (3, 13), "Python", result, advice="use 3.11 or 3.12")


def list_packages() -> Finding:
    """Name the version of each package that a run needs; a missing one is told with what takes its place."""
    versions = {name: installed_or_empty(name) for name in PACKAGES}
    missing = [name for name, found in versions.items() if not found]
    other = next((name for name in FAISS_NAMES if FAISS in missing and installed_or_empty(name)), "")
    result = ", ".join(f"{name} {found}" if found else f"no {name}" for name, found in versions.items())
    result += f", but {other} {installed(other)} in its place" if other else ""
    state = "ok" if not missing else "note" if other and missing == [FAISS] else "bad"
    return Finding(name="packages", state=state, result=result, advice="install what is missing: pip install ray-ue, or uv tool install .")


def check_processors() -> Finding:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    advice = f"Ray and torch together need {MEMORY} GiB or more: close other programs, or use --workers local"
    return note_unless(memory >= MEMORY, "processors", f"{cores} cores, {memory:.0f} GiB of memory", advice=advice)


def check_gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        advice = (
            "all work runs on the CPU, which suits small surrogates and thousands of images; CLIP takes hours. If this machine has "
            "a GPU, nvidia-smi must list it and its driver must support torch's CUDA"
        )
        return Finding(name="GPU", state="note", result=f"torch {torch.__version__} sees none", advice=advice)
    devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    value = float((torch.ones(8, 8, device="cuda") @ torch.ones(8, 8, device="cuda")).sum())
    names = ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices)
    advice = f"a product of matrices of ones gave {value} instead of 512: reinstall the driver or torch"
    return bad_unless(value == 512, "GPU", names, advice=advice)


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
    return Finding(
        name="Ray",
        state="ok",
        result=f"{kind}: {counted(machines.cores, 'core')}, {counted(machines.gpus, 'GPU')}, {counted(len(machines.nodes), 'node')}",
    )


def check_faiss() -> Finding:
    """Check that k-means finds two clouds of points."""
    try:
        import faiss
    except ImportError as error:
        return Finding(name="faiss", state="bad", result=f"{type(error).__name__}: {error}", advice="install it: pip install faiss-cpu")

    from ray_ue.grouping.kmeans import KMeans

    cloud = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32) + np.repeat([[0.0], [9.0]], 32, axis=0).astype(np.float32)
    centers = np.sort(KMeans(k=2, restarts=1).fit(cloud).mean(1))
    good = bool(abs(centers[0]) < 1 and abs(centers[1] - 9) < 1)
    device = counted(faiss.get_num_gpus(), "GPU") if faiss.get_num_gpus() else "the CPU"
    advice = f"it found the centres {centers.round(2)} instead of 0 and 9: install only one of faiss-cpu and faiss-gpu"
    return bad_unless(good, "faiss", f"version {faiss.__version__} on {device}, clusters correctly", advice=advice)


def check_weights(kind: str) -> Finding:
    """List the surrogates of a library that can be loaded without a network connection."""
    names, folder = specs.family(kind).cached()
    listing = f"{len(names)} in {folder}: {', '.join(names[:4])}{', …' if len(names) > 4 else ''}" if names else f"none in {folder}"
    advice = f"the first run with --surrogate {kind}:… downloads them; without network use {kind}:ARCH@FILE; ssl:small needs none"
    return note_unless(bool(names), f"{kind} weights", listing, advice=advice)


def check_disk(folder: str) -> Finding:
    target = Folder.at(folder)
    free = target.free_bytes()
    result = f"{'an object store' if free == float('inf') else f'{format_bytes(free)} free'} for {target.uri}"
    advice = "ray-ue protect … --dry-run shows how much a copy needs; --image-format webp and --resize reduce it"
    return room_for("disk", free, ROOM, result, advice=advice)


def check_writing(folder: str) -> Finding:
    target = Folder.at(folder)
    try:
        target.check_writable()
    except (ValueError, ImportError) as error:
        return Finding(name="writing", state="bad", result=" ".join(str(error).split()))
    return Finding(name="writing", state="ok", result=f"a test file in {target.uri} could be written and removed")


def check_temporary_folder() -> Finding:
    """Ray writes spilled objects and logs to the temporary folder."""
    asked = temporary_root()
    there = next(folder for folder in (asked, *asked.absolute().parents) if folder.is_dir())
    return check_free("temporary", str(there), WORK_ROOM, advice="Ray writes to it; set RAY_TMPDIR to a folder on a larger disk")


def check_shared_memory() -> Finding:
    """Ray keeps its object store in /dev/shm on Linux."""
    if not Path("/dev/shm").is_dir():
        return Finding(name="shared memory", state="ok", result="none; Ray uses the temporary folder")
    advice = "Ray uses the slower disk instead: start the container with --shm-size=4g"
    return check_free("shared memory", "/dev/shm", SHARED_ROOM, advice=advice)


def check_free(name: str, folder: str, least: int, *, advice: str) -> Finding:
    """Whether `least` GiB are free in a folder of this machine."""
    free = shutil.disk_usage(folder).free
    return room_for(name, free, least, f"{format_bytes(free)} free in {folder}", advice=advice)


def room_for(name: str, free: float, least: int, result: str, *, advice: str) -> Finding:
    """Whether the `free` bytes are `least` GiB; next to nothing stops any run."""
    finding = note_unless if free >= FULL * 2**30 else bad_unless
    return finding(free >= least * 2**30, name, result, advice=advice)


def check_open_files() -> Finding:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    advice = f"Ray needs many: run ulimit -n {8 * FILES}"
    return note_unless(soft >= FILES, "open files", f"at most {soft:,} per process", advice=advice)


def format_finding(finding: Finding) -> str:
    """A finding as text, with its advice unless the state is ok."""
    text = f"{MARKS[finding.state]} {finding.name:<19} {finding.result}"
    return text + (f"\n{'':25}-> {finding.advice}" if finding.advice and finding.state != "ok" else "")
