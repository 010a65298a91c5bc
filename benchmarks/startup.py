"""Start-up: seconds from the start of the process to the first row that it has read, and to the first that it has embedded."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.data import as_folder, photos
from benchmarks.measure import Bench, Measure

ROWS, RUNS = 64, 3
FIRST = {"sampled": "sample-*/parts/*", "embedded": "embed-*/vectors/*"}
POLL = 0.02  # seconds; the first kind of file is removed when its stage ends


def measure(bench: Bench) -> Iterator[Measure]:
    source = as_folder(photos(bench.photos, count=ROWS), bench.scratch / "photos")
    runs = [once(source, bench.scratch / f"copy-{number}") for number in range(1 if bench.quick else RUNS)]
    detail = {"runs": [{name: round(seconds, 2) for name, seconds in run.items()} for run in runs], "rows": ROWS}
    yield Measure(what="start-up: to the first row", value=median(run["sampled"] for run in runs), unit="s", detail=detail)
    what = "start-up: to the first embedded row, with 1 ssl step"
    yield Measure(what=what, value=median(run["embedded"] for run in runs), unit="s")


def once(source: Path, copy: Path) -> dict[str, float]:
    """Seconds from the start of `ray-ue embed` to the first file of each kind."""
    command = [
        sys.executable,
        "-m",
        "ray_ue",
        "embed",
        str(source),
        str(copy),
        "--surrogate",
        "ssl:small",
        "--image-size",
        "32",
        "--ssl-steps",
        "1",
    ]
    work, found = copy.with_name(copy.name + ".ray-ue"), dict[str, float]()
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while len(found) < len(FIRST) and process.poll() is None:
            for name in FIRST.keys() - found.keys():
                if any(".draft-" not in path.name for path in work.glob(FIRST[name])):
                    found[name] = time.monotonic() - began
            time.sleep(POLL)
        _, errors = process.communicate()
    if process.returncode or len(found) < len(FIRST):
        raise ValueError(f"ray-ue embed ended with code {process.returncode} after {found}: {errors[-500:]}")
    return found
