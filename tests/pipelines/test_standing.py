"""What a plan says of the copy that is there: what joins, what is gone, what is written again."""

from pathlib import Path
from typing import Any

import pytest
from conftest import image_bytes

from ray_ue.config.recipe import Recipe, Resources
from ray_ue.pipelines import protect as pipeline
from ray_ue.pipelines.protect import protect
from ray_ue.pipelines.standing import standing_lines

LOCAL = Resources(workers="local")
NOISE: dict[str, Any] = {"method": "noise", "per": "image"}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_plan_says_what_becomes_of_the_copy_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / f"in/{number}.png").write_bytes(image_bytes(number))

    def lines(source: str = "in", **more: Any) -> dict[str, str]:
        recipe = Recipe(**NOISE)
        return standing_lines(pipeline.plan(str(tmp_path / source), str(tmp_path / "out"), recipe=recipe, resources=LOCAL, **more))

    assert lines() == {}
    protect(tmp_path / "in", tmp_path / "out", resources=LOCAL, **NOISE)
    assert lines() == {}
    (tmp_path / "in/new.png").write_bytes(image_bytes(9))
    (tmp_path / "out/1.png").unlink()
    told = lines()
    assert "1 files are new or have changed (new.png)" in told["join"]
    assert "1 images are missing from the copy, and will be written again (1.png)" in told["mend"]
    (tmp_path / "in/0.png").unlink()
    assert "no longer in the source (0.png), and stay in the copy" in lines()["gone"]
    assert "will be removed" in lines(prune=True)["gone"]
    assert "cannot be written again while originals are gone" in lines()["mend"]
    assert lines(anew=True) == {}
    copied = pipeline.plan(str(tmp_path / "out"), str(tmp_path / "again"), recipe=Recipe(**NOISE), resources=LOCAL)
    assert "is a protected copy" in standing_lines(copied)["warning"]
