"""`python -m benchmarks.gpu.bundle`: the project, wheels and pictures in parts, for a machine with one GPU and without a package index.

That machine has Python 3.12 and what `PRESENT` names; `start.py` installs whatever else is missing there.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu.pictures import open_pictures
from benchmarks.gpu.start import is_installed

ROOT = Path(__file__).resolve().parents[2]
NAME = "ray-ue-gpu"
PART = 44 * 2**20  # bytes of a part, at most: a Ray wheel alone is larger
PRESENT = ("torch", "torchvision", "timm", "pyarrow", "scikit-learn")
TESTING = ("pytest", "pytest-timeout", "beartype", "hypothesis")
INSTEAD = {"faiss-gpu": "faiss-cpu"}  # the GPU's brings CUDA libraries of 1.5 GB
PYTHON = {"python_version": "3.12", "python_full_version": "3.12.0", "sys_platform": "linux", "platform_machine": "x86_64"}
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.bundle", description="All that the checks of a GPU need, in parts.")
    parser.add_argument("--pictures", default="", help="a folder per class, or Parquet files with labels; else the demo's crops")
    parser.add_argument("--out", type=Path, default=Path("gpu-bundle"))
    asked = parser.parse_args()
    shutil.rmtree(asked.out, ignore_errors=True)
    asked.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="ray-ue-bundle-") as scratch:
        folder = Path(scratch) / NAME
        copy_project(folder)
        copy_pictures(asked.pictures, folder)
        download(wheels(), folder / "wheels")
        tar = Path(scratch) / f"{NAME}.tar"
        with tarfile.open(tar, "w") as archive:
            archive.add(folder, arcname=NAME)
        parts = split(tar, asked.out, size=PART)
    total = sum(part.stat().st_size for part in parts)
    print(f"{len(parts)} parts of {PART / 2**20:g} MiB or less, {total / 2**20:.0f} MiB in all, in {asked.out}. On the other machine:")
    print(how_to_start(asked.out))
    return 0


def how_to_start(out: Path) -> str:
    """The line that joins the parts and starts the checks."""
    return f"cat {out}/{NAME}.tar.* | tar x && python3 {NAME}/benchmarks/gpu/start.py --seconds 360 --out gpu-out"


def copy_project(folder: Path) -> None:
    """Every file that git keeps, as it is now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target := folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


def copy_pictures(place: str, folder: Path) -> None:
    """The files that were named, as they are, or the demo's crops: scikit-image, which has their photographs, may be missing there."""
    if not place:
        open_pictures("").save(folder / "pictures.npz")
        return
    source, target = Path(place), folder / "pictures"
    if not source.exists():
        raise ValueError(f"there are no pictures at {place}; name a folder per class, or Parquet files with labels")
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        target.mkdir(parents=True)
        shutil.copyfile(source, target / source.name)


def wheels() -> list[str]:
    """`NAME==VERSION` of all that the project and its tests need and the other machine does not have, in the versions installed here."""
    present = needed(PRESENT)
    names = sorted(needed(["ray-ue", *TESTING]) - present - {"ray-ue"})
    return [f"{INSTEAD.get(name, name)}=={version(name)}" for name in names]


def needed(names: Iterable[str]) -> set[str]:
    """Some installed packages and all that they need on the other machine, by their normal names."""
    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in done:
            continue
        done.add(key)
        found.add(key[0])
        waiting += requirements(key[0], extras=wanted.extras)
    return found


def requirements(name: str, *, extras: set[str]) -> Iterator[Requirement]:
    """What an installed package asks for there, with these extras; one that is not installed here is needed by other systems alone."""
    try:
        texts = [] if name in INSTEAD else requires(name) or []
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        asked = marker is None or any(marker.evaluate({**PYTHON, "extra": extra}) for extra in (extras or {""}))
        if asked and is_installed(requirement.name):
            yield requirement


def download(pins: list[str], folder: Path) -> None:
    """Wheels for the other machine's Python and system."""
    words = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"]
    words += [word for platform in PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(folder), *words, *pins]
    subprocess.run(command, check=True)


def split(path: Path, folder: Path, *, size: int) -> list[Path]:
    """Write the bytes of a file to parts of `size` whose names sort in their order; gives them."""
    parts: list[Path] = []
    with path.open("rb") as file:
        while block := file.read(size):
            parts.append(folder / f"{path.name}.{len(parts):02d}")
            parts[-1].write_bytes(block)
    return parts


if __name__ == "__main__":
    sys.exit(main())
