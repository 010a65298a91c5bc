"""`ray-ue check`: the owner's own pictures are split, and one sentence says what the numbers say."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import write_classes

from ray_ue.config.recipe import AUTOMATIC, Recipe
from ray_ue.pipelines import check
from ray_ue.results.tables import RESULTS
from ray_ue.stages.evaluate.rows import split
from ray_ue.storage.artifacts import Folder


def folder(root: Path, *, kept: float, spread: float = 0.01, relabel: str = "identity", **changes: Any) -> Folder:
    """Results in which a victim keeps this share of what clean images teach."""
    rows: list[dict] = []
    for data, mean in (("clean", 0.9), ("noise", 0.88), ("pattern", 0.7), ("protected", 0.1 + 0.8 * kept)):
        for defense, cost in (("none", 0.05), ("rrc", 0.0)):
            for seed in range(2):
                accuracy = mean - (cost if data == "protected" else 0) + spread * (2 * seed - 1)
                place = {
                    "copy": "out",
                    "data": data,
                    "fraction": 0.0,
                    "victim": "fast",
                    "relabel": relabel,
                    "defense": defense,
                    "seed": seed,
                }
                done = {"status": "done", "reason": "", "accuracy": accuracy, "chance": 0.1, "classes": 10}
                rows.append(dict.fromkeys(RESULTS.schema.names) | place | done | changes)
    home = Folder.at(str(root))
    home.write_table(RESULTS.name, pa.Table.from_pylist(rows, schema=RESULTS.schema))
    return home


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (0.2, "protects these images against everyday exploiters: they keep at most 20.0 %"),
        (0.5, "in part: everyday exploiters keep up to 50.0 %"),
        (0.8, "weakly: everyday exploiters keep up to 80.0 %"),
        (1.0, "does not protect these images: an everyday exploiter keeps all of what"),
    ],
)
def test_the_verdict_says_what_is_kept_and_what_set_it(kept: float, told: str, tmp_path: Path) -> None:
    first, second, *_, last = check.verdict(folder(tmp_path, kept=kept), Recipe())
    assert told in first
    assert "labels identity, treatment rrc" in second
    assert last.startswith("No copy survives")


def test_a_verdict_names_what_was_not_tried(tmp_path: Path) -> None:
    home = folder(tmp_path, kept=0.2)
    rows = RESULTS.read(home).to_pylist()
    failed = [row | {"relabel": "super:5", "status": "failed", "accuracy": None} for row in rows if row["data"] == "protected"]
    home.write_table(RESULTS.name, pa.Table.from_pylist(rows + failed, schema=RESULTS.schema))
    (told,) = [line for line in check.verdict(home, Recipe()) if line.startswith("Not compared")]
    assert "no victim on the protected copy finished: super:5 with none, super:5 with rrc" in told


def test_a_drop_within_the_spread_is_not_called_no_protection(tmp_path: Path) -> None:
    home = folder(tmp_path, kept=0.4)
    apart = {0: -0.25, 1: 0.25}
    rows = [
        row | ({"accuracy": row["accuracy"] + apart.get(row["seed"], 0)} if row["data"] == "protected" else {})
        for row in RESULTS.read(home).to_pylist()
    ]
    home.write_table(RESULTS.name, pa.Table.from_pylist(rows, schema=RESULTS.schema))
    assert check.verdict(home, Recipe())[0].startswith("No protection could be shown: an everyday exploiter keeps")


def test_what_may_strengthen_a_copy_follows_its_recipe(tmp_path: Path) -> None:
    home = folder(tmp_path, kept=0.7)
    weak = Recipe(method="uc", surrogate="ssl:small", budget="8", image_format="jpeg")
    (advice,) = [line for line in check.verdict(home, weak) if line.startswith("What may strengthen it")]
    for part in ("webp", "texture", "surrogate", "--strength mid", "--groups label"):
        assert part in advice
    assert not [line for line in check.verdict(home, Recipe(groups="label", budget="high")) if "strengthen" in line]
    assert "nothing is known" in " ".join(check.verdict(home, None))
    assert "strengthen" not in " ".join(check.verdict(folder(tmp_path / "strong", kept=0.1), weak))


def test_labels_that_nobody_learns_give_no_verdict(tmp_path: Path) -> None:
    assert check.verdict(folder(tmp_path, kept=0.0, chance=0.95), Recipe())[0].startswith("There is no verdict")


def test_held_out_rows_are_no_training_rows_and_a_function_of_the_seed(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", range(120))
    asked: dict[str, Any] = {"results": "", "format": "auto", "resources": AUTOMATIC, "clean": str(tmp_path / "photos")}
    copy = write_classes(tmp_path / "copy", range(120))
    job = check.plan(str(copy), images=100, **asked)
    train, test = split(job, 120)
    assert (len(train), len(test)) == (75, 25)
    assert not np.intersect1d(train, test).size
    assert all((one == two).all() for one, two in zip(split(job, 120), (train, test), strict=True))
    with pytest.raises(ValueError, match="--images 20 are too few to train and test on; use 80 or more"):
        check.plan(str(copy), images=20, **asked)
    with pytest.raises(ValueError, match=r"3 images are too few to hold out 0\.25 of them"):
        split(job, 3)


def test_victims_that_did_not_finish_are_no_verdict_on_the_labels(tmp_path: Path) -> None:
    home = folder(tmp_path, kept=0.5, status="failed", reason="its workers ended 3 times before it did")
    assert check.verdict(home, Recipe())[0].startswith("There is no verdict: victims did not finish (its workers ended 3 times")
