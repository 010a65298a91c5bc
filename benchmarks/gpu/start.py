"""Starts the checks where a bundle was joined: `python3 benchmarks/gpu/start.py [--test | CHECK ...]`. It needs Python and pip alone.

It installs the wheels of packages that are missing into a folder of the bundle, and leaves what is installed as it is. `--test` runs
`pytest -m gpu`; all else goes to `python -m benchmarks.gpu`.
"""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "site-packages"
INSTEAD = {"faiss-cpu": ("faiss-gpu", "faiss-gpu-cu12")}  # any of them gives the same module


def main() -> int:
    wheels = missing(sorted((ROOT / "wheels").glob("*.whl")))
    if wheels and not SITE.exists():
        print(f"installing {len(wheels)} packages into {SITE}", file=sys.stderr, flush=True)
        where = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", "--target", str(SITE)]
        subprocess.run([sys.executable, "-m", "pip", "install", *where, *map(str, wheels)], check=True)
    words = sys.argv[1:]
    command = ["-m", "pytest", "-m", "gpu", "-rs", "tests/gpu"] if "--test" in words else ["-m", "benchmarks.gpu", *with_pictures(words)]
    paths = [str(ROOT), str(SITE), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    settings = {"PYTHONPATH": os.pathsep.join(paths), "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=os.environ | settings, check=False).returncode


def missing(wheels: list[Path]) -> list[Path]:
    """Those whose package, or one that stands for it, is not installed."""
    return [wheel for wheel in wheels if not any(map(is_installed, names_of(wheel)))]


def names_of(wheel: Path) -> tuple[str, ...]:
    name = wheel.name.split("-")[0].replace("_", "-").lower()
    return (name, *INSTEAD.get(name, ()))


def is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def with_pictures(words: list[str]) -> list[str]:
    """The arguments, with the bundle's own pictures and with paths that do not depend on the folder that the checks run in."""
    own = [place for place in (ROOT / "pictures", ROOT / "pictures.npz") if place.exists()]
    words = ["--pictures", str(own[0]), *words] if own and "--pictures" not in words else words
    if "--out" not in words:
        return [*words, "--out", str(Path.cwd() / "gpu-out")]
    place = words.index("--out") + 1
    return [*words[:place], str(Path(words[place]).resolve()), *words[place + 1 :]]


if __name__ == "__main__":
    sys.exit(main())
