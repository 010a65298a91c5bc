"""The notebooks as they are committed: run from top to bottom without an error, with pictures, small enough to be read on the web."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).parents[2] / "notebooks"
NAMES = ("01_protect_your_photos", "02_label_agnostic", "03_mutual_information", "04_sweep_and_pareto")
MOST_BYTES = 500_000


def read(name: str) -> list[dict[str, Any]]:
    return json.loads((HOME / f"{name}.ipynb").read_text())["cells"]


def outputs(name: str) -> list[dict[str, Any]]:
    return [output for cell in read(name) if cell["cell_type"] == "code" for output in cell["outputs"]]


def test_there_are_exactly_these() -> None:
    assert sorted(path.stem for path in HOME.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_was_run_from_top_to_bottom_without_an_error(name: str) -> None:
    counts = [cell["execution_count"] for cell in read(name) if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(name) if output["output_type"] == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_shows_pictures_and_stays_small(name: str) -> None:
    pictures = [output["data"]["image/png"] for output in outputs(name) if "image/png" in output.get("data", {})]
    assert pictures
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert (HOME / f"{name}.ipynb").stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_names_no_place_of_the_machine_that_ran_it(name: str) -> None:
    told = json.dumps([{key: value for key, value in output.items() if key != "data"} for output in outputs(name)])
    assert not re.findall(r"/(?:home|root|tmp|work|Users)/[\w/.-]*", told)


@pytest.mark.parametrize("name", NAMES)
def test_the_code_of_a_notebook_can_be_read(name: str) -> None:
    for cell in read(name):
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            plain = "\n".join(line for line in source.splitlines() if not line.startswith(("!", "%")))
            compile(plain, name, "exec")
