"""What two features do together: changed flags and changed sources, stages and joins, links and private folders."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import image_bytes
from growing import LABELS, LOCAL, OWN, run, write

from ray_ue.cli.main import main
from ray_ue.config.job import Job
from ray_ue.config.recipe import AUTOMATIC, Recipe
from ray_ue.pipelines import protect as pipeline
from ray_ue.pipelines.perturbations import take_perturbations
from ray_ue.pipelines.rehearsal import look, problems
from ray_ue.pipelines.standing import Standing
from ray_ue.stages.protect.summary import warnings_of

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

NAMES = [f"cats/{number}.png" for number in range(6)]
WAVES: dict[str, Any] = {"method": "texture", "clusters": 2, "surrogate": "ssl:plain", "ssl_steps": 2, "image_size": 32}
TWO_OF_EACH = ["cats/0.png", "cats/1.png", "dogs/0.png", "dogs/1.png"]


def planned(root: Path, **fields: Any) -> Job:
    return pipeline.plan(str(root / "in"), str(root / "out"), recipe=Recipe(**fields), resources=LOCAL)


def found(job: Job) -> list[str]:
    return list(problems(job, look(job)))


def line(root: Path, *more: str, command: str = "protect") -> list[str]:
    return [command, str(root / "in"), str(root / "out"), "--method=noise", "--per=image", "--workers=local", *more]


@pytest.mark.parametrize("change", ["added", "removed"])
def test_an_emptied_copy_whose_source_has_changed_is_not_filled_with_another_budget(change: str, tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, budget="16/255", **OWN)
    shutil.rmtree(tmp_path / "out")
    if change == "added":
        write(tmp_path / "in", ["cats/new.png"], first=50)
    else:
        (tmp_path / "in" / NAMES[0]).unlink()
    with pytest.raises(ValueError, match="another recipe: budget: 16 -> 8"):
        run(tmp_path, budget="8/255", **OWN)
    assert run(tmp_path, budget="16/255", prune=True, **OWN)["export"].folder.read_json("verified.json")["images"] in (5, 7)


@pytest.mark.parametrize("until", ["embed", "cluster", "craft"])
def test_a_command_that_stops_before_the_export_writes_nothing_of_what_joins(until: str, tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **WAVES)
    write(tmp_path / "in", ["cats/new.png"], first=50)
    done = run(tmp_path, until=until, **WAVES)
    assert "export" not in done
    assert not (tmp_path / "out/cats/new.png").exists()
    assert run(tmp_path, **WAVES)["export"].folder.read_json("verified.json")["images"] == 7


@pytest.mark.parametrize("kind", ["clusters", "labels"])
def test_one_picture_joins_where_every_image_has_its_own_pattern_made_in_groups(kind: str, tmp_path: Path) -> None:
    groups = {"groups": "label"} if kind == "labels" else {"clusters": 2}
    recipe: dict[str, Any] = WAVES | {"method": "lsp", "per": "image"} | groups
    write(tmp_path / "in", TWO_OF_EACH)
    run(tmp_path, **recipe)
    write(tmp_path / "in", ["cats/new.png"], first=50)
    assert not found(planned(tmp_path, **recipe))
    done = run(tmp_path, **recipe)
    assert done["export"].folder.read_json("verified.json")["images"] == 5
    told = take_perturbations(str(tmp_path / "out"), str(tmp_path / "delta.npy"), unit="levels")
    assert told.startswith("4 perturbations of up to 16 levels")
    assert [len(np.load(tmp_path / name)) for name in ("delta.npy", "delta-2.npy")] == [4, 1]


@pytest.mark.parametrize("kind", [WAVES, LABELS], ids=["clusters", "labels"])
def test_what_joined_goes_on_where_the_first_export_was_taken_away(kind: dict[str, Any], tmp_path: Path) -> None:
    """As the line about a lost ledger advises."""
    write(tmp_path / "in", TWO_OF_EACH)
    first = run(tmp_path, **kind)["export"].folder
    write(tmp_path / "in", ["cats/new.png"], first=50)
    run(tmp_path, **kind)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    shutil.rmtree(first.uri)
    assert run(tmp_path, **kind)["export"].folder.read_json("verified.json")["images"] == 5
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")} == before


def test_the_plan_of_a_pruning_does_not_ask_for_a_picture_per_cluster(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **WAVES | {"clusters": 5})
    for name in NAMES[:2]:
        (tmp_path / "in" / name).unlink()
    assert not found(planned(tmp_path, **WAVES | {"clusters": 5}))
    run(tmp_path, prune=True, **WAVES | {"clusters": 5})


def test_pictures_of_which_none_can_be_read_stop_neither_a_plan_nor_a_run(tmp_path: Path) -> None:
    write(tmp_path / "in", TWO_OF_EACH)
    run(tmp_path, **LABELS)
    for number in range(5):
        (tmp_path / f"in/cats/bad{number}.png").write_bytes(b"no picture")
    assert not found(planned(tmp_path, **LABELS))
    assert run(tmp_path, **LABELS)["export"].folder.read_json("verified.json")["images"] == 4
    write(tmp_path / "in", ["cats/good.png"], first=50)
    with pytest.raises(ValueError, match=r"5 of 10 images cannot be used, more than --max-rejected"):
        run(tmp_path, **LABELS)


def test_a_plan_finds_a_caption_that_nothing_can_write_again(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    (tmp_path / "in/cats/0.txt").write_text("a cat")
    run(tmp_path, **OWN)
    for root in ("in", "out"):
        (tmp_path / root / "cats/0.txt").unlink()
    assert "1 file missing from the copy or damaged, without an original in the source (cats/0.txt)" in "\n".join(
        found(planned(tmp_path, **OWN))
    )
    (tmp_path / "in/cats/0.txt").write_text("a cat")
    assert not found(planned(tmp_path, **OWN))
    assert Standing.of(planned(tmp_path, **OWN)).broken == ("cats/0.txt",)
    run(tmp_path, **OWN)
    assert (tmp_path / "out/cats/0.txt").read_text() == "a cat"


def test_the_last_lines_tell_of_the_whole_source_after_pictures_have_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", NAMES)
    (tmp_path / "in/a.yaml").write_text("a: 1")
    assert main(line(tmp_path, "--carry=*.yaml")) == 0
    write(tmp_path / "in", ["cats/new.png"], first=50)
    (tmp_path / "in/clip.mov").write_bytes(b"film")
    capsys.readouterr()
    assert main(line(tmp_path, "--carry=*.yaml")) == 0
    told = capsys.readouterr().out
    assert "no file fits" not in told
    assert "left out        1 video and sound (clip.mov)" in told


def test_a_loose_picture_joins_packed_ones(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    images = [{"bytes": image_bytes(number), "path": f"{number}.png"} for number in range(3)]
    pq.write_table(pa.table({"image": images}), tmp_path / "in/a.parquet")
    run(tmp_path, **OWN)
    write(tmp_path / "in", ["cover.png"], first=50)
    assert not found(planned(tmp_path, format="parquet", **OWN))
    assert run(tmp_path, format="parquet", **OWN)["export"].folder.read_json("verified.json")["images"] == 4
    assert (tmp_path / "out/cover.png").exists()


def test_the_private_folder_of_a_copy_in_the_source_never_travels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in/old", NAMES)
    pipeline.protect(tmp_path / "in/old", tmp_path / "in/old-protected", resources=LOCAL, **OWN)
    capsys.readouterr()
    assert main(line(tmp_path, "--carry=*.json", "--carry=*.safetensors", "--carry=*.parquet")) == 0
    told = capsys.readouterr()
    assert "old-protected is a protected copy: a second change adds to the first" in told.out
    assert not [path for path in (tmp_path / "out").rglob("*") if ".ray-ue" in str(path.relative_to(tmp_path / "out"))]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 12


def test_an_output_that_is_a_link_in_its_source_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    (tmp_path / "disk").mkdir()
    (tmp_path / "in/out").symlink_to(tmp_path / "disk")
    with pytest.raises(ValueError, match="overlap"):
        pipeline.protect(tmp_path / "in", tmp_path / "in/out", resources=LOCAL, **OWN)
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["cats", "out"]


def test_a_picture_too_long_for_the_format_is_left_out_with_a_reason(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    (tmp_path / "in/cats/long.png").write_bytes(image_bytes(9, height=10, width=17_000))
    reason = "cats/long.png: 17000x10 is over the 16383 pixels a side that webp can hold"
    assert look(planned(tmp_path, image_format="webp", **OWN)).unusable == [tuple(reason.split(": ", 1))]
    facts = run(tmp_path, image_format="webp", **OWN)["export"].facts
    assert (facts["images"], facts["reasons"]["some"]) == (6, [reason])


def test_a_name_that_is_no_utf8_is_pruned_once_and_protected_again(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    odd = tmp_path / "in" / b"caf\xe9.png".decode("utf-8", "surrogateescape")
    odd.write_bytes(image_bytes(50))
    run(tmp_path, **OWN)
    odd.unlink()
    run(tmp_path, prune=True, **OWN)
    assert not Standing.of(planned(tmp_path, **OWN)).gone
    odd.write_bytes(image_bytes(50))
    assert run(tmp_path, **OWN)["export"].folder.read_json("verified.json")["images"] == 7


def test_a_copy_is_found_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    monkeypatch.chdir(tmp_path / "out/cats")
    assert pipeline.reopen("..", resources=AUTOMATIC).output.uri == str(tmp_path / "out")


def test_images_of_which_none_can_be_used_are_not_to_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / f"in/{number}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"none of 5 images can be used") as caught:
        run(tmp_path, max_rejected=1.0, **OWN)
    assert "leaves them out" not in str(caught.value)


def test_what_is_checked_before_a_run_does_not_import_ray(tmp_path: Path) -> None:
    """Ray has to find its environment set up: its ports are guarded by it, and it keeps its own notes to itself."""
    write(tmp_path / "in", TWO_OF_EACH)
    run(tmp_path, **OWN)
    write(tmp_path / "in", ["cats/new.png"], first=50)
    code = f"""
import sys
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.pipelines import protect, rehearsal
for how in ({{}}, {{"anew": True}}, {{"prune": True}}):
    resources, recipe = Resources(workers="local"), Recipe(method="noise", per="image")
    job = protect.plan({str(tmp_path / "in")!r}, {str(tmp_path / "out")!r}, recipe=recipe, resources=resources, **how)
    protect.check_before(job, until="verify")
    assert not list(rehearsal.problems(job, rehearsal.look(job)))
print("ray" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False"]


def test_a_data_set_that_was_saved_again_in_other_files_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"image": [{"bytes": image_bytes(number), "path": f"{number}.png"} for number in range(4)]}
    table = datasets.Dataset.from_dict(rows)
    table.save_to_disk(str(tmp_path / "in"), num_shards=2)
    run(tmp_path, **OWN)
    shutil.rmtree(tmp_path / "in")
    table.save_to_disk(str(tmp_path / "in"), num_shards=4)
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    reason = "the data set was saved again without data-00000-of-00002.arrow, data-00001-of-00002.arrow"
    assert any(reason in problem for problem in found(planned(tmp_path, **OWN)))
    with pytest.raises(ValueError, match=reason):
        run(tmp_path, **OWN)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before
    assert run(tmp_path, prune=True, max_gone=1.0, **OWN)["export"].folder.read_json("verified.json")["images"] == 4


@pytest.mark.parametrize("kind", ["nowhere", "circle", "pipe"])
@pytest.mark.parametrize("verb", ["output", "source"])
def test_what_is_neither_file_nor_folder_is_called_so(kind: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", NAMES)
    odd = tmp_path / "odd"
    if kind == "nowhere":
        odd.symlink_to(tmp_path / "unmounted")
    elif kind == "circle":
        odd.symlink_to(tmp_path / "other")
        (tmp_path / "other").symlink_to(odd)
    else:
        os.mkfifo(odd)
    places = [str(tmp_path / "in"), str(odd)] if verb == "output" else [str(odd), str(tmp_path / "out")]
    for more in ([], ["--dry-run"]):
        assert main(["protect", *places, "--method=noise", "--per=image", "--workers=local", *more]) == 2
        told = capsys.readouterr().err
        assert ("is a pipe, a socket or a device" if kind == "pipe" else "is a link that leads nowhere, or in a circle") in told
    assert not list(tmp_path.glob("*.ray-ue"))


def test_a_link_that_leads_nowhere_is_rejected_and_not_called_protected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", NAMES)
    (tmp_path / "in/cats/lost.png").symlink_to(tmp_path / "unmounted/lost.png")
    assert main(line(tmp_path)) == 0
    told = capsys.readouterr().out
    assert "linked" not in told
    assert "cats/lost.png: zero bytes, or a link that leads nowhere" in told


def test_a_pattern_that_nearly_all_images_share_is_told() -> None:
    facts: dict[str, Any] = {"weak": {"count": 0}, "large": {"count": 0}}
    for sizes, told in (([19, 1], True), ([12, 8], False)):
        warnings = warnings_of(facts, groups={"by": "kmeans", "sizes": sizes, "empty": 0}, recipe=Recipe())
        assert any("19 of 20 images share one pattern" in warning for warning in warnings) == told
    assert not warnings_of(facts, groups={"by": "joined", "sizes": [1, 0], "drift_ratio": 1.0}, recipe=Recipe())
