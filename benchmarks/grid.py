"""Grid: what an evaluation spends beside training, on scikit-learn's digits and a copy with random noise, run as users run it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from benchmarks.measure import Bench, Measure
from ray_ue.cli.demo import TRAIN, add_noise, load_digit_images, write_folder
from ray_ue.perturbations.budget import Budget

MINUTE = 60.0  # the goal is a share of a cell of this length
POLL = 0.02


def measure(bench: Bench) -> Iterator[Measure]:
    pixels, labels = load_digit_images()
    folders = {name: bench.scratch / name for name in ("clean", "copy", "test")}
    write_folder(folders["clean"], pixels[:TRAIN], labels[:TRAIN])
    write_folder(folders["copy"], add_noise(pixels[:TRAIN], Budget(levels=8)), labels[:TRAIN])
    write_folder(folders["test"], pixels[TRAIN:], labels[TRAIN:])
    yield first(folders, bench.scratch / "first")
    yield beside(folders, bench.scratch / "beside", seeds=1 if bench.quick else 2)


def command(folders: dict[str, Path], run: Path, *flags: str) -> list[str]:
    where = ["--clean", str(folders["clean"]), "--test", str(folders["test"]), "--results", str(run)]
    return [sys.executable, "-m", "ray_ue", "evaluate", str(folders["copy"]), *where, "--relabels", "identity", *flags]


def first(folders: dict[str, Path], run: Path) -> Measure:
    """Seconds from the start of the process until the first one-epoch cell has been trained, measured and saved."""
    began, found = time.monotonic(), 0.0
    line = command(folders, run, "--victims", "linear", "--defenses", "none", "--epochs", "1", "--seeds", "1")
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not found and process.poll() is None:
            found = time.monotonic() - began if any(run.glob("cell-*/manifest.json")) else 0.0
            time.sleep(POLL)
        _, errors = process.communicate()
    if process.returncode or not found:
        raise ValueError(f"ray-ue evaluate ended with code {process.returncode}: {errors[-500:]}")
    return Measure(what="grid: from evaluate to the first epoch", value=found, unit="s", detail={"rows": TRAIN})


def beside(folders: dict[str, Path], run: Path, *, seeds: int) -> Measure:
    """Lane seconds per cell that no training pass accounts for, over a cell of one minute; lanes are warm after their first cell."""
    subprocess.run(
        command(folders, run, "--victims", "fast", "--defenses", "none,cutmix", "--seeds", str(seeds)), check=True, capture_output=True
    )
    cells = sorted(run.glob("cell-*/manifest.json"), key=os.path.getmtime)
    lanes = min(os.cpu_count() or 1, len(cells))
    looped = [json.loads(path.read_text())["facts"]["looped"] for path in cells]
    span = os.path.getmtime(cells[-1]) - os.path.getmtime(cells[lanes - 1])
    each = span * lanes / (len(cells) - lanes)
    spent = max(0.0, each - mean(looped[lanes:]))
    detail = {
        "cells": len(cells),
        "lanes": lanes,
        "lane_seconds_per_cell": round(each, 2),
        "passes_per_cell": round(mean(looped[lanes:]), 2),
    }
    return Measure(what="grid: beside training, per one-minute cell", value=spent / MINUTE, most=0.1, detail=detail)
