"""One benchmark in a process of its own, so that none inherits another's threads, memory or Ray session; see `__main__`."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.measure import Bench, Measure
from ray_ue.engine.environment import prepare

INFINITE = (float("inf"), float("-inf"))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("result", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked = parser.parse_args()
    prepare()  # before anything imports Ray
    found: list[Measure] = []
    with tempfile.TemporaryDirectory(prefix=f"ray-ue-bench-{asked.name}-") as scratch:
        bench = Bench(scratch=Path(scratch), photos=asked.photos, quick=asked.quick, device=torch.device(asked.device))
        found += import_module(f"benchmarks.{asked.name}").measure(bench)
    asked.result.write_text(json.dumps([plain(one) for one in found]))
    return 0


def plain(one: Measure) -> dict[str, object]:
    """What JSON can hold, with the verdict."""
    values: dict[str, object] = {name: value for name, value in asdict(one).items() if value not in INFINITE}
    return values | {"goal": one.goal, "verdict": one.verdict}


if __name__ == "__main__":
    sys.exit(main())
