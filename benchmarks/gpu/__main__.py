"""`python -m benchmarks.gpu [CHECK ...] [--device cpu]`: run the checks, print a table, and keep the numbers in gpu-out/gpu.json.

The checks run in a process that is started anew when one of them breaks it or takes too long. The exit code is 1 when a check could not
be run, or a law does not hold; a goal that depends on the card and is missed is shown and is no error.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.gpu.checks import CHECKS
from benchmarks.measure import machine

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.2
START = 60.0  # seconds until the first check begins, at most
PATIENT = 4  # times as long may a check take on a CPU


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Checks of one GPU, each beside its bare limit.")
    parser.add_argument("names", nargs="*", metavar="CHECK", help=f"any of {', '.join(CHECKS)}; all of them if none is named, or `all`")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a dry run of tiny sizes")
    parser.add_argument("--seconds", type=float, default=360.0, help="after which no check begins, and the one that runs is given up")
    parser.add_argument("--pictures", default="", help="a folder per class, Parquet files with labels, or a .npz; else the demo's crops")
    parser.add_argument("--out", type=Path, default=Path("gpu-out"))
    asked = parser.parse_args()
    names = [name for word in asked.names for name in word.replace(",", " ").split()]
    if unknown := [name for name in names if name not in (*CHECKS, "all")]:
        parser.error(f"no check is called {unknown[0]!r}; there are {', '.join(CHECKS)}")
    if not names or "all" in names:
        names = list(CHECKS)
    results = run(names, device=asked.device, pictures=asked.pictures, seconds=asked.seconds)
    asked.out.mkdir(parents=True, exist_ok=True)
    facts = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "device": device_name(asked.device), "machine": machine()}
    (asked.out / "gpu.json").write_text(json.dumps(facts | {"checks": results}, indent=1) + "\n")
    show(results, title=f"{facts['device']}, {machine()['cpu']}, {machine()['cores']} cores")
    print(f"\nwritten to {asked.out / 'gpu.json'}")
    return 1 if any(result["error"] for result in results.values()) or broken_laws(results) else 0


def run(names: list[str], *, device: str, pictures: str, seconds: float) -> dict[str, dict]:
    """The result of every check, in order."""
    deadline, left = time.monotonic() + seconds, list(names)
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="ray-ue-gpu-") as folder:
        path = Path(folder) / "results.jsonl"
        path.touch()
        while left and time.monotonic() < deadline:
            words = ["--device", device, "--result", str(path), *(["--pictures", str(Path(pictures).resolve())] if pictures else [])]
            reason = follow([sys.executable, "-m", "benchmarks.gpu.worker", *left, *words], path, device=device, deadline=deadline)
            for entry in map(json.loads, path.read_text().splitlines()):
                name = entry.pop("check")
                if "rows" in entry or name not in results:
                    results[name] = entry if "rows" in entry else {"rows": [], "error": reason or "it never ended"}
            started = [name for name in left if name in results]
            if not started:
                results[left[0]] = {"rows": [], "error": reason or "it never began"}
            left = [name for name in left if name not in results]
    return {name: results.get(name, {"rows": [], "error": "not begun: the time was over"}) for name in names}


def follow(command: list[str], path: Path, *, device: str, deadline: float) -> str:
    """Run the worker until it ends, a check takes too long, or the time is over; why it did not end by itself, if it did not."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | hidden, start_new_session=True)
    begun = time.monotonic()
    count = len(path.read_text().splitlines())
    try:
        while process.poll() is None:
            time.sleep(POLL)
            lines = path.read_text().splitlines()
            if len(lines) != count:
                count, begun = len(lines), time.monotonic()
            running = json.loads(lines[-1])["check"] if lines else ""
            most = (CHECKS[running].seconds if running else START) * (PATIENT if device == "cpu" else 1)
            if time.monotonic() > deadline:
                return "the time was over"
            if time.monotonic() - begun > most:
                return f"it took more than {most:g} s"
        return f"its process ended with code {process.returncode}" if process.returncode else ""
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def device_name(device: str) -> str:
    if device == "cpu":
        return "CPU"
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        seen = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    except OSError:  # containers with the driver's compute libraries alone have no such program
        seen = ""
    return seen.splitlines()[0] if seen else device


def broken_laws(results: dict[str, dict]) -> list[str]:
    return [row["what"] for result in results.values() for row in result["rows"] if row["law"] and row["verdict"] == "missed"]


def show(results: dict[str, dict], *, title: str) -> None:
    print(f"\n{title}\n\n| check | value | bare | share | goal | |\n|---|--:|--:|--:|---|---|")
    for name, result in results.items():
        for row in result["rows"]:
            bare, value = row.get("bare"), row.get("value", float("nan"))
            limit, share = (f"{bare:.4g} {row['unit']}", f"{value / bare:.2f}") if bare else ("", "")
            verdict = f"{row['verdict']}{', a law' if row['law'] else ''}"
            print(f"| {row['what']} | {value:.4g} {row['unit']} | {limit} | {share} | {row['goal']} | {verdict} |")
        if result["error"]:
            print(f"| {name} | | | | | {result['error']} |")


if __name__ == "__main__":
    sys.exit(main())
