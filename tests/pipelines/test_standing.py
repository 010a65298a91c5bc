"""What a plan says of the copy that is there: what joins, what is gone, what is written again."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import image_bytes
from PIL import Image

from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.pipelines import protect as pipeline
from ray_ue.pipelines.protect import protect
from ray_ue.pipelines.standing import Standing

LOCAL = Resources(workers="local")


def standing_lines(job: Job) -> dict[str, str]:
    return Standing.of(job).lines(job)


NOISE: dict[str, Any] = {"method": "noise", "per": "image"}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_an_image_in_the_copy_that_no_run_wrote_is_refused_by_the_plan_as_by_the_run(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / f"in/{number}.png").write_bytes(image_bytes(number))
    protect(tmp_path / "in", tmp_path / "out", resources=LOCAL, **NOISE)
    job = pipeline.plan(str(tmp_path / "in"), str(tmp_path / "out"), recipe=Recipe(**NOISE), resources=LOCAL)
    Standing.of(job).refuse_foreign()
    (tmp_path / "in/new.png").write_bytes(image_bytes(9))
    (tmp_path / "out/new.png").write_bytes(image_bytes(9))  # as a run leaves it that was killed before it could record
    grown = pipeline.plan(str(tmp_path / "in"), str(tmp_path / "out"), recipe=Recipe(**NOISE), resources=LOCAL)
    Standing.of(grown).refuse_foreign()
    (tmp_path / "out/strange.png").write_bytes(image_bytes(5))
    told = r"1 image in the copy that no run wrote.*strange\.png.*: take what is no part of the copy out of it"
    with pytest.raises(ValueError, match=told):
        Standing.of(grown).refuse_foreign()
    with pytest.raises(ValueError, match=told):
        protect(tmp_path / "in", tmp_path / "out", resources=LOCAL, **NOISE)
    (tmp_path / "out/strange.png").unlink()
    protect(tmp_path / "in", tmp_path / "out", resources=LOCAL, **NOISE)


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
    assert "1 file new or changed (new.png)" in told["join"]
    assert "1 image of the copy missing or damaged (1.png): to be written again" in told["mend"]
    (tmp_path / "out/2.png").write_bytes((tmp_path / "in/2.png").read_bytes())
    Image.open(tmp_path / "out/3.png").save(tmp_path / "out/3.png", optimize=True)  # the same pixels are no damage
    assert "2 images of the copy missing or damaged (1.png, 2.png)" in lines()["mend"]
    (tmp_path / "in/0.png").unlink()
    assert "1 file of the copy no longer in the source (0.png): kept in the copy" in lines()["gone"]
    assert "to be removed" in lines(prune=True)["gone"]
    assert "(1.png, 2.png): to be written again" in lines()["mend"]
    (tmp_path / "out/0.png").unlink()
    assert "(0.png, 1.png, 2.png): see below" in lines()["mend"]
    plan = pipeline.plan(str(tmp_path / "in"), str(tmp_path / "out"), recipe=Recipe(**NOISE), resources=LOCAL)
    with pytest.raises(ValueError, match=r"1 image missing .* without an original in the source \(0\.png\).*--prune"):
        Standing.of(plan).refuse_lost()
    assert "(1.png, 2.png): to be written again" in lines(prune=True)["mend"]
    assert lines(anew=True) == {"gone": "1 file of the copy no longer in the source (0.png): to be removed from the copy"}
    copied = pipeline.plan(str(tmp_path / "out"), str(tmp_path / "again"), recipe=Recipe(**NOISE), resources=LOCAL)
    assert "is a protected copy" in standing_lines(copied)["warning"]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_images_in_a_packed_file_are_there_as_long_as_it_is(tmp_path: Path) -> None:
    images = [{"bytes": image_bytes(number), "path": f"{number}.png"} for number in range(4)]
    pq.write_table(pa.table({"image": images}), tmp_path / "in.parquet")
    protect(tmp_path / "in.parquet", tmp_path / "out", resources=LOCAL, **NOISE)
    job = pipeline.plan(str(tmp_path / "in.parquet"), str(tmp_path / "out"), recipe=Recipe(**NOISE), resources=LOCAL)
    assert standing_lines(job) == {}
    (tmp_path / "out/in.parquet").unlink()
    assert "4 images of the copy missing or damaged" in standing_lines(job)["mend"]
