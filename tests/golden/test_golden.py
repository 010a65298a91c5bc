"""Every method's bank, and all that the commands leave on small folders, are what was recorded."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from golden.comparing import compare, skip_elsewhere
from golden.recorded import banks, verbs


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ray-ue-golden-") as path:
        yield Path(path)


@pytest.mark.parametrize(("part", "make"), [("banks", banks), pytest.param("verbs", verbs, marks=pytest.mark.ray)])
def test_results_are_those_that_were_recorded(
    part: str, make: Callable[[Path], dict[str, str]], folder: Path, request: pytest.FixtureRequest
) -> None:
    skip_elsewhere()
    if part == "verbs":
        request.getfixturevalue("ray_session")
    compare(part, make(folder))
