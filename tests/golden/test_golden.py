"""Nothing that a refactor touches may move: fingerprints, banks, copies and victims for fixed seeds are those that were recorded.

`GOLDEN_RECORD=1 python -m pytest tests/golden` records them anew, after a change of results that CHANGELOG names.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from golden.recorded import GOLDEN, banks, environment, verbs


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ray-ue-golden-") as path:
        yield Path(path)


def compare(part: str, made: dict[str, str]) -> None:
    """Equal where the machine is the one that recorded; further files may have joined."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("GOLDEN_RECORD"):
        GOLDEN.write_text(json.dumps(golden | {"environment": environment(), part: made}, indent=1, sort_keys=True) + "\n")
        return
    moved = [name for name, value in golden[part].items() if made.get(name) != value]
    assert not moved, f"{len(moved)} of {len(golden[part])} moved, such as {moved[:5]}"


def same_machine() -> None:
    recorded = json.loads(GOLDEN.read_text())["environment"] if GOLDEN.exists() else {}
    if not os.environ.get("GOLDEN_RECORD") and (other := {k: v for k, v in environment().items() if recorded.get(k) != v}):
        pytest.skip(f"sums of floats differ between processors and versions; this machine differs in {other}")


@pytest.mark.parametrize(("part", "make"), [("banks", banks), pytest.param("verbs", verbs, marks=pytest.mark.ray)])
def test_results_are_those_that_were_recorded(
    part: str, make: Callable[[Path], dict[str, str]], folder: Path, request: pytest.FixtureRequest
) -> None:
    same_machine()
    if part == "verbs":
        request.getfixturevalue("ray_session")
    compare(part, make(folder))
