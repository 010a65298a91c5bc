"""`python -m benchmarks [NAME ...] [--quick]`: run the benchmarks, print a table, and keep the numbers in bench-out/bench.json.

A goal that is missed is shown and is no error: the exit code is 1 only when a benchmark could not be run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import machine

NAMES = ("victims", "poison", "craft", "startup", "grid", "export", "embed", "memory")  # the longest last
ROOT = Path(__file__).resolve().parent.parent
PHOTOS = Path("../shared/data/imagenet-sample")  # where this is not there, scikit-learn's two photographs serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios within one run, on real photographs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; all of them if none is named")
    parser.add_argument("--quick", action="store_true", help="fewer rows; memory with 2,000 and 20,000 rows in place of 10,000 and 100,000")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the benchmarks that start no Ray")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="a folder of Parquet files with an `image` column")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in NAMES]:
        parser.error(f"no benchmark is called {unknown[0]!r}; there are {', '.join(NAMES)}")
    results = {name: run(name, asked) for name in asked.names or NAMES}
    keep(results, asked.out)
    show(results, quick=asked.quick)
    return 1 if any("error" in result for result in results.values()) else 0


def run(name: str, asked: argparse.Namespace) -> dict:
    """One benchmark in its own process; what goes wrong in it is part of the result."""
    print(f"\n== {name}", file=sys.stderr, flush=True)
    about = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "load_before": os.getloadavg()[0], "quick": asked.quick}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        command = [sys.executable, "-m", "benchmarks.alone", name, str(result), "--photos", str(asked.photos.resolve())]
        command += ["--device", asked.device]
        ended = subprocess.run([*command, *(["--quick"] if asked.quick else [])], cwd=ROOT, check=False)
        about |= {"seconds": round(time.monotonic() - began, 1), "machine": machine()}
        if ended.returncode:
            return about | {"error": f"ended with code {ended.returncode}; its last lines are above", "measures": []}
        return about | {"measures": json.loads(result.read_text())}


def keep(results: dict[str, dict], folder: Path) -> None:
    """Replace the results of the benchmarks that ran; those of others stay, each with its own date and machine."""
    path = folder / "bench.json"
    folder.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | results, indent=1) + "\n")
    print(f"\nwritten to {path}", file=sys.stderr)


def show(results: dict[str, dict], *, quick: bool) -> None:
    facts = machine()
    print(f"\n{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB")
    print("quick: fewer rows than the goals are about\n" if quick else "")
    print("| measure | value | goal | |\n|---|--:|---|---|")
    for name, result in results.items():
        for one in result["measures"]:
            print(f"| {one['what']} | {one['value']:.4g} {one['unit']} | {one['goal']} | {one['verdict']} |")
        if "error" in result:
            print(f"| {name} | | | {result['error']} |")


if __name__ == "__main__":
    sys.exit(main())
