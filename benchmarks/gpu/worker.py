"""A process that works through checks and appends each result to a file at once, so that what ends it costs one check; see `__main__`."""

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

from ray_ue.engine.environment import prepare

prepare()  # before the next lines import Ray

import torch  # noqa: E402

from benchmarks.gpu.checks import CHECKS  # noqa: E402
from benchmarks.gpu.pictures import open_pictures  # noqa: E402
from benchmarks.gpu.rows import Check, Row, Setting  # noqa: E402
from ray_ue.stages.evaluate.cell import breaks_device  # noqa: E402

BROKEN = 3  # exit code: the device of this process can do no more work


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+")
    parser.add_argument("--device", required=True)
    parser.add_argument("--pictures", default="")
    parser.add_argument("--result", type=Path, required=True)
    asked = parser.parse_args()
    pictures = open_pictures(asked.pictures)
    device = torch.device(asked.device)
    for name in asked.names:
        append(asked.result, {"check": name, "began": time.time()})
        with tempfile.TemporaryDirectory(prefix=f"ray-ue-gpu-{name}-") as scratch:
            setting = Setting(device=device, tiny=device.type == "cpu", pictures=pictures, scratch=Path(scratch))
            result, broken = attempt(CHECKS[name], setting)
        append(asked.result, {"check": name, **result})
        if broken:
            return BROKEN
    return 0


def attempt(check: Check, setting: Setting) -> tuple[dict[str, object], bool]:
    """(the rows of a check or what went wrong, whether the device is broken now); a check that fails must not end the others."""
    rows: list[Row] = []
    began, words, broken = time.monotonic(), "", False
    reset_peak(setting.device)
    try:
        rows += check.work(setting)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result of this check
        traceback.print_exc()
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        broken = isinstance(error, RuntimeError) and breaks_device(error)
    if setting.device.type == "cuda" and not broken:
        peak = torch.cuda.max_memory_allocated(setting.device) / 2**30
        rows.append(Row(what="peak memory of the process on the device", value=peak, unit="GiB"))
        torch.cuda.empty_cache()
    return {"rows": [row.plain() for row in rows], "error": words, "seconds": round(time.monotonic() - began, 1)}, broken


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def append(path: Path, entry: dict[str, object]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    sys.exit(main())
