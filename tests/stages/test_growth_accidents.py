"""Accidents in the life of a copy: bad pictures that join, another source, lost and damaged private files."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from growing import LOCAL, OWN, run, write

from ray_ue.cli.main import main
from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe
from ray_ue.engine.errors import find_user_error
from ray_ue.pipelines import protect as pipeline
from ray_ue.pipelines.check import check
from ray_ue.pipelines.standing import Standing
from ray_ue.stages.protect.damage import VerifyError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

NAMES = [f"cats/{number}.png" for number in range(10)]
CLUSTERS: dict[str, Any] = {"clusters": 2, "image_size": 32}
KINDS = {"own": OWN, "clusters": CLUSTERS}


def planned(root: Path, source: str = "in", **fields: Any) -> Job:
    return pipeline.plan(str(root / source), str(root / "out"), recipe=Recipe(**fields), resources=LOCAL)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beside", [[], ["cats/good.png"]], ids=["alone", "beside a good one"])
def test_a_bad_picture_that_joins_is_left_out_and_stops_nothing(kind: str, beside: list[str], tmp_path: Path) -> None:
    """A few never stop a run: they are counted among all images of the copy, not among those that join."""
    write(tmp_path / "in", NAMES)
    run(tmp_path, **KINDS[kind])
    write(tmp_path / "in", beside, first=50)
    (tmp_path / "in/cats/bad.jpg").write_bytes(b"not a picture")
    for _ in range(2):  # the same line again changes nothing
        done = run(tmp_path, **KINDS[kind])
        assert done["export"].folder.read_json("verified.json")["images"] == 10 + len(beside)
        assert {path.name for path in (tmp_path / "out/cats").iterdir()} == {Path(name).name for name in [*NAMES, *beside]}


def test_a_source_that_is_another_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    write(tmp_path / "other", NAMES[:2], first=70)
    job = planned(tmp_path, "other", **OWN)
    told = f"the copy was made from {tmp_path}/in, and goes on from {tmp_path}/other: a file of the same name and another size replaces"
    assert told in Standing.of(job).lines(job)["warning"]
    capsys.readouterr()
    pipeline.protect(tmp_path / "other", tmp_path / "out", resources=LOCAL, **OWN)
    assert told in capsys.readouterr().err


def test_a_caption_alone_waits_for_the_next_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", NAMES)
    (tmp_path / "in/cats/0.txt").write_text("a cat")
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/0.txt").write_text("another cat")
    job = planned(tmp_path, **OWN)
    lines = Standing.of(job).lines(job)
    assert "join" not in lines
    assert lines["waiting"] == "1 file beside the images new or changed (cats/0.txt): they come with the next picture that joins"
    run(tmp_path, **OWN)
    assert "waiting  1 file beside the images" in capsys.readouterr().err


def test_patterns_that_were_removed_are_one_line(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **CLUSTERS)
    bank = next((tmp_path / "out.ray-ue").glob("craft-*")) / "bank.safetensors"
    bank.unlink()
    with pytest.raises(ValueError, match=r"bank\.safetensors is not there any more; put it back, or remove the copy"):
        Standing.of(planned(tmp_path, **CLUSTERS))
    lost = find_user_error(FileNotFoundError(2, "No such file or directory", str(bank)))  # as the tasks of a run find it
    assert str(lost).startswith(f"{bank} is not there any more; put it back")


def test_a_lost_ledger_is_no_reason_to_take_images_out_of_the_copy(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    shutil.rmtree(next((tmp_path / "out.ray-ue").glob("export-*")) / "ledger")
    with pytest.raises(VerifyError, match=r"a part of \S+export-\w+ was deleted; remove that folder"):
        Standing.of(planned(tmp_path, **OWN))


@pytest.mark.parametrize(("name", "damage"), [("claim.json", b"{"), ("generations.json", b"{"), ("export-*/ledger/*.parquet", b"xx")])
def test_a_damaged_private_file_is_named(name: str, damage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", NAMES[:3])
    run(tmp_path, **OWN)
    file = next((tmp_path / "out.ray-ue").glob(name))
    file.write_bytes(damage)
    assert main(["verify", str(tmp_path / "out"), "--workers", "local"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"{file} is damaged (" in told
    assert "put it back as it was" in told


def test_a_claim_that_is_lost_is_told_from_a_folder_that_is(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES[:3])
    run(tmp_path, **OWN)
    (tmp_path / "out.ray-ue/claim.json").unlink()
    with pytest.raises(ValueError, match=r"is not empty, and \S+claim\.json is not there: put that back"):
        run(tmp_path, **OWN)
    shutil.rmtree(tmp_path / "out.ray-ue")
    with pytest.raises(ValueError, match=r"is not empty, and \S+out\.ray-ue does not lie beside it: put that back"):
        run(tmp_path, **OWN)


def test_after_a_pruning_the_last_lines_do_not_count_what_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["protect", str(tmp_path / "in"), str(tmp_path / "out"), "--method=noise", "--per=image", "--workers=local"]
    write(tmp_path / "in", NAMES[:3])
    assert main(line) == 0
    write(tmp_path / "in", NAMES[3:8], first=3)
    assert main(line) == 0
    for name in NAMES[3:8]:
        (tmp_path / "in" / name).unlink()
    capsys.readouterr()
    assert main([*line, "--prune", "--max-gone=1"]) == 0
    assert "(3 images, less what was removed since 5 were written)" in capsys.readouterr().out


def test_a_small_copy_is_not_checked(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    with pytest.raises(ValueError, match="has 10 images, too few to train an exploiter and to test it; check needs 40 or more"):
        check(tmp_path / "out", resources=LOCAL)
