"""`--image-size auto`: the side follows the pictures, and a side far below them is a warning."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ray_ue.cli.commands import parse_arguments
from ray_ue.config.grid import Grid
from ray_ue.config.recipe import AUTOMATIC, Recipe
from ray_ue.pipelines import claim, protect
from ray_ue.pipelines.claim import CLAIM, claim_of, work_of
from ray_ue.pipelines.planning import coarse_line, median_side
from ray_ue.sources import open_source
from ray_ue.storage.artifacts import Folder, Manifest, finish
from ray_ue.sweeps.request import plan as plan_sweep
from ray_ue.sweeps.search import Search


def pictures(root: Path, *, side: int, broken: int = 0) -> str:
    root.mkdir()
    for number in range(4):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side + 9, 3), dtype=np.uint8)).save(root / f"{number}.png")
    for number in range(broken):
        (root / f"broken{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return str(root)


@pytest.mark.parametrize(("side", "taken"), [(16, 32), (32, 32), (60, 64), (160, 128), (190, 224), (900, 224)])
def test_auto_takes_the_side_nearest_to_the_pictures(side: int, taken: int, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", side=side, broken=1)
    assert median_side(open_source(source)) == side
    recipe = Recipe(image_size=0, method="em", groups="label")
    job = protect.plan(source, str(tmp_path / "out"), recipe=recipe, resources=AUTOMATIC)
    assert job.recipe == replace(recipe, image_size=taken)
    stated = protect.plan(source, str(tmp_path / "out"), recipe=Recipe(image_size=48), resources=AUTOMATIC)
    assert stated.recipe.image_size == 48


def test_auto_enlarges_small_pictures_for_a_network_that_others_have_trained(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", side=40)
    for recipe, taken in (
        (Recipe(), 224),
        (Recipe(method="uc"), 224),
        (Recipe(method="uc", surrogate="ssl:small"), 32),
        (Recipe(method="mi-ue", per="group"), 32),
    ):
        assert protect.plan(source, str(tmp_path / "out"), recipe=recipe, resources=AUTOMATIC).recipe.image_size == taken


def test_a_side_is_kept_while_there_is_a_copy_of_the_same_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run left that wrote no image decides nothing."""
    monkeypatch.setattr(claim, "fills_again", lambda job: False)  # it would look into the export, which is none here
    source, out = pictures(tmp_path / "in", side=40), tmp_path / "out"
    work = work_of(Folder.at(str(out)))
    earlier = Recipe(method="em", groups="label", image_size=64)

    def side(**fields: Any) -> int:
        return protect.plan(source, str(out), recipe=Recipe(**fields), resources=AUTOMATIC).recipe.image_size

    job = protect.plan(source, str(out), recipe=earlier, resources=AUTOMATIC)
    work.write_json(CLAIM, claim_of(job))
    assert side(method="em", groups="label") == 32
    finish(work.child("export-0123456789abcdef"), Manifest(stage="export", fingerprint="0123456789abcdef"))
    assert side(method="em", groups="label") == 64
    assert side(method="texture") == 224


def test_the_command_line_takes_auto_or_a_number() -> None:
    for words, size in (([], 0), (["--image-size", "auto"], 0), (["--image-size", "96"], 96)):
        assert parse_arguments("protect", ["in", "out", *words]).recipe.image_size == size
    with pytest.raises(ValueError, match=r"--image-size is a whole number or auto, got 'large'"):
        parse_arguments("protect", ["in", "out", "--image-size", "large"])
    with pytest.raises(ValueError, match=r"--image-size 8 is too small; give 16 or more, or auto"):
        Recipe(image_size=8).check()


def test_a_side_far_below_the_pictures_is_a_warning(tmp_path: Path) -> None:
    source = open_source(pictures(tmp_path / "in", side=300))
    line = coarse_line(source, Recipe(method="uc", surrogate="ssl:small", image_size=32))
    assert line.startswith("--image-size 32 is far below these pictures (median 300 px)")
    assert "give --image-size auto" in line
    assert not coarse_line(source, Recipe(method="uc", surrogate="ssl:small", image_size=224))
    assert not coarse_line(source, Recipe(method="noise", per="image", image_size=32)), "noise has no network that could see too little"


def test_a_sweep_takes_the_side_that_a_copy_would_and_varies_only_numbers(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", side=60)
    recipe = Recipe(method="uc", surrogate="ssl:small")
    asked: dict[str, Any] = {
        "test": pictures(tmp_path / "test", side=60),
        "recipe": recipe,
        "grid": Grid(victims="linear"),
        "resources": AUTOMATIC,
    }
    assert plan_sweep(source, str(tmp_path / "sweep"), search=Search(vary=("budget=8,16",)), **asked).recipe.image_size == 64
    with pytest.raises(ValueError, match="--vary image_size takes numbers of pixels, got 0"):
        plan_sweep(source, str(tmp_path / "sweep"), search=Search(vary=("image_size=0,32",)), **asked)
