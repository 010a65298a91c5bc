"""A copy over time: new pictures join, damaged files are written again, removed ones leave if asked, and verify needs no source."""

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import image_bytes
from growing import LABELS, LOCAL, OWN, run, write
from PIL import Image

from ray_ue.cli.output import print_copy
from ray_ue.config.recipe import Recipe
from ray_ue.config.stages import LAST
from ray_ue.pipelines import protect as pipeline
from ray_ue.pipelines.evaluate import evaluate
from ray_ue.pipelines.rehearsal import look, problems
from ray_ue.results.tables import RESULTS
from ray_ue.stages.protect.damage import VerifyError
from ray_ue.storage.artifacts import Artifact, Folder
from ray_ue.storage.locks import alone

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
CLUSTERS = {"method": "noise", "per": "group", "clusters": 2, "surrogate": "ssl:plain", "ssl_steps": 1, "image_size": 32}
KINDS: dict[str, dict[str, Any]] = {"own": OWN, "labels": LABELS, "clusters": CLUSTERS}


def snapshot(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def facts(done: dict[str, Artifact]) -> dict:
    return done["export"].folder.read_json("verified.json")


def refused(root: Path, phrase: str) -> None:
    """Verification fails, and says why."""
    with pytest.raises(VerifyError, match=phrase):
        pipeline.verify(str(root / "out"), resources=LOCAL)


NAMES = [f"{kind}/{number}.png" for kind in ("cats", "dogs") for number in range(6)]


@pytest.mark.parametrize("kind", KINDS)
def test_new_pictures_join_and_the_others_stay_as_they_are(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **KINDS[kind])
    before = snapshot(tmp_path / "out")
    write(tmp_path / "in", ["cats/new.png", "dogs/new.png"], first=50)
    done = run(tmp_path, **KINDS[kind])
    after = snapshot(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"cats/new.png", "dogs/new.png"}
    assert done["export"].facts["images"] == 2
    assert facts(done)["images"] == facts(done)["originals"] == 14
    assert snapshot(tmp_path / "out") == after
    assert facts(run(tmp_path, **KINDS[kind]))["images"] == 14  # the same line again changes nothing
    assert snapshot(tmp_path / "out") == after


@pytest.mark.parametrize(("kind", "patterned"), [("labels", True), ("own", False)])
def test_a_copy_that_has_grown_keeps_its_control_of_patterns(kind: str, patterned: bool, tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **KINDS[kind])
    write(tmp_path / "in", ["cats/new.png", "dogs/new.png"], first=50)
    run(tmp_path, **KINDS[kind])
    write(tmp_path / "test", NAMES, first=100)
    grid: dict[str, Any] = {"victims": "linear", "relabels": "identity", "defenses": "none", "seeds": 1, "epochs": 1, "batch": 4}
    results = evaluate(tmp_path / "out", clean=tmp_path / "in", test=tmp_path / "test", results=tmp_path / "r", resources=LOCAL, **grid)
    trained = {row["data"] for row in RESULTS.read(results).to_pylist() if row["status"] == "done"}
    assert trained == {"clean", "noise", "protected"} | ({"pattern"} if patterned else set())
    found = [Folder.at(str(path)).read_table("slots.parquet")["slot"].to_pylist() for path in (tmp_path / "r").glob("groups-*")]
    assert found == ([[0] * 7 + [1] * 7] if patterned else [])


def test_changed_pictures_are_protected_again_and_a_taken_name_is_not_used_twice(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/0.png").write_bytes(image_bytes(70, height=40))
    (tmp_path / "in/cats/1.jpg").write_bytes(image_bytes(71, format="jpeg"))
    done = run(tmp_path, **OWN)
    assert Image.open(tmp_path / "out/cats/0.png").size == (32, 40)
    assert {path.name for path in (tmp_path / "out/cats").iterdir()} == {*(f"{n}.png" for n in range(6)), "1.jpg.png"}
    assert facts(done) == facts(done) | {"images": 13, "originals": 13}


def test_pictures_that_are_gone_stay_until_they_are_pruned(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/0.png").unlink()
    assert facts(run(tmp_path, **OWN))["images"] == 12
    assert (tmp_path / "out/cats/0.png").exists()
    done = run(tmp_path, prune=True, **OWN)
    assert facts(done)["images"] == 11
    assert not (tmp_path / "out/cats/0.png").exists()
    write(tmp_path / "in", ["cats/0.png"], first=80)
    assert facts(run(tmp_path, **OWN))["images"] == 12
    assert (tmp_path / "out/cats/0.png").exists()


def test_a_copy_is_made_anew_if_asked(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/0.png").unlink()
    write(tmp_path / "in", ["dogs/new.png"], first=90)
    done = run(tmp_path, anew=True, **OWN)
    assert done["export"].facts["images"] == facts(done)["images"] == 12
    assert not (tmp_path / "out/cats/0.png").exists()


def test_a_class_without_a_pattern_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **LABELS)
    write(tmp_path / "in", ["owls/0.png"], first=60)
    plan = pipeline.plan(str(tmp_path / "in"), str(tmp_path / "out"), recipe=Recipe(**LABELS), resources=LOCAL)
    assert ["no pattern was crafted for the class owls" in problem for problem in problems(plan, look(plan))] == [True]
    with pytest.raises(ValueError, match=r"no pattern was crafted for the class owls.*--anew"):
        run(tmp_path, **LABELS)


def test_the_last_lines_count_the_whole_copy_after_pictures_have_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    write(tmp_path / "in", ["cats/new.png"], first=50)
    plan = pipeline.plan(str(tmp_path / "in"), str(tmp_path / "out"), recipe=Recipe(**OWN), resources=LOCAL)
    print_copy(plan, run(tmp_path, **OWN), LAST)
    told = capsys.readouterr().out
    assert "(13 images, 1 of them written last, " in told
    assert "all 13 images read back" in told


def test_a_work_folder_that_lost_a_part_is_told_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    shutil.rmtree(next((tmp_path / "out.ray-ue").glob("index-*")))
    for again in (lambda: run(tmp_path, **OWN), lambda: pipeline.verify(str(tmp_path / "out"), resources=LOCAL)):
        with pytest.raises(ValueError, match=r"index-\w+ is not there any more.*put it back, or remove the copy and its work folder"):
            again()


def test_two_runs_do_not_write_one_copy(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    plan = pipeline.plan(str(tmp_path / "in"), str(tmp_path / "out"), recipe=Recipe(**OWN), resources=LOCAL)
    with alone(plan.work, what=plan.output.uri), pytest.raises(ValueError, match=r"another run is writing \S*out at this moment"):
        pipeline.run(plan, until=LAST)
    assert facts(pipeline.run(plan, until=LAST))["images"] == 12


def test_a_copy_is_not_mended_by_halves_where_an_original_is_gone(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/0.png").rename(tmp_path / "kept.png")
    (tmp_path / "out/cats/3.png").unlink()
    assert facts(run(tmp_path, **OWN))["images"] == 12  # its own original is there
    for name in ("0", "3"):
        (tmp_path / f"out/cats/{name}.png").unlink()
    for _ in range(2):
        with pytest.raises(
            VerifyError, match=r"missing from the copy: cats/0\.png, cats/3\.png; .* is gone .*\(cats/0\.png\): put it back, or let --prune"
        ):
            run(tmp_path, **OWN)
        assert not (tmp_path / "out/cats/3.png").exists()
    assert facts(run(tmp_path, prune=True, **OWN))["images"] == 11
    (tmp_path / "kept.png").rename(tmp_path / "in/cats/0.png")
    assert facts(run(tmp_path, **OWN))["images"] == 12


def test_mending_touches_nothing_but_what_is_damaged(tmp_path: Path) -> None:
    write(tmp_path / "in", [*NAMES, "captions.txt"])
    (tmp_path / "in/captions.txt").write_text("words")
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/1.png").write_bytes(image_bytes(77))  # protected again by a later generation
    (tmp_path / "in/cats/2.png").unlink()
    run(tmp_path, prune=True, **OWN)
    before = snapshot(tmp_path / "out")
    (tmp_path / "out/cats/0.png").unlink()
    (tmp_path / "out/captions.txt").write_text("other words")
    (tmp_path / "out/dogs/0.png").write_bytes(b"x")
    refused(tmp_path, r"1 image missing .*cats/0.*; 1 image of \S+ not as written: dogs/0.*; 1 file beside .*captions\.txt")
    run(tmp_path, **OWN)
    assert snapshot(tmp_path / "out") == before


def test_a_ledger_that_was_lost_is_told_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    before, export = snapshot(tmp_path / "out"), next((tmp_path / "out.ray-ue").glob("export-*"))
    shutil.rmtree(export / "ledger")
    with pytest.raises(VerifyError, match=r"a part of \S+export-\w+ was deleted; remove that folder"):
        run(tmp_path, **OWN)
    shutil.rmtree(export)
    run(tmp_path, **OWN)
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize("damage", ["missing", "broken", "caption", "folder"])
def test_a_damaged_copy_is_mended_by_the_same_line(damage: str, tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    (tmp_path / "in/captions.txt").write_text("cats and dogs")
    run(tmp_path, **OWN)
    write(tmp_path / "in", ["cats/new.png"], first=50)
    run(tmp_path, **OWN)
    before = snapshot(tmp_path / "out")
    if damage == "folder":
        shutil.rmtree(tmp_path / "out")
    elif damage == "missing":
        (tmp_path / "out/cats/0.png").unlink()
        (tmp_path / "out/cats/new.png").unlink()
    else:
        (tmp_path / "out" / ("captions.txt" if damage == "caption" else "cats/1.png")).write_bytes(b"x")
    if damage != "folder":
        refused(tmp_path, r"missing|cannot be read back|changed")
    run(tmp_path, **OWN)
    assert snapshot(tmp_path / "out") == before


def test_verify_stands_alone_when_the_source_is_gone_has_grown_or_changed(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)

    def proved() -> dict:
        return facts(pipeline.verify(str(tmp_path / "out"), resources=LOCAL)[1])

    assert proved() == proved() | {"images": 12, "originals": 12}
    write(tmp_path / "in", ["cats/new.png"])
    assert proved()["originals"] == 12
    (tmp_path / "in/cats/0.png").write_bytes(b"changed")
    assert proved() == proved() | {"images": 12, "originals": 11}
    shutil.rmtree(tmp_path / "in")
    assert proved() == proved() | {"images": 12, "originals": 0}
    (tmp_path / "out/cats/0.png").write_bytes(image_bytes(0))
    with pytest.raises(VerifyError, match=r"cats/0\.png: its pixels are not those that were written"):
        proved()


def test_metadata_may_be_stripped_from_a_copy_afterwards(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    Image.open(tmp_path / "out/cats/0.png").save(tmp_path / "out/cats/0.png", optimize=True)
    assert facts(pipeline.verify(str(tmp_path / "out"), resources=LOCAL)[1]) | {"saved_anew": 1, "images": 12}


def test_one_image_is_protected_where_it_has_a_pattern_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "in", ["cats/0.png"])
    assert facts(run(tmp_path, **OWN))["images"] == 1


def parquet(path: Path, numbers: range) -> None:
    images = [{"bytes": image_bytes(number), "path": f"{number}.png"} for number in numbers]
    pq.write_table(pa.table({"image": images, "label": [number % 2 for number in numbers]}), path)


def tar(path: Path, numbers: range) -> None:
    with tarfile.open(path, "w") as shard:
        for number in numbers:
            for suffix, data in ((".png", image_bytes(number)), (".cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number:04d}{suffix}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(("write_shard", "suffix"), [(parquet, "parquet"), (tar, "tar")])
@pytest.mark.parametrize("kind", ["own", "labels"])
def test_a_shard_of_new_pictures_joins_and_the_others_stay_as_they_are(kind: str, write_shard: Any, suffix: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_shard(tmp_path / f"in/00000.{suffix}", range(8))
    run(tmp_path, **KINDS[kind])
    before = snapshot(tmp_path / "out")
    write_shard(tmp_path / f"in/00001.{suffix}", range(8, 12))
    done = run(tmp_path, **KINDS[kind])
    after = snapshot(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"00001.{suffix}"}
    assert done["export"].facts["images"] == 4
    assert facts(done)["images"] == facts(done)["originals"] == 12
    assert facts(run(tmp_path, **KINDS[kind]))["images"] == 12
    assert snapshot(tmp_path / "out") == after


@pytest.mark.parametrize(("write_shard", "suffix"), [(parquet, "parquet"), (tar, "tar")])
def test_a_shard_that_grew_is_protected_again_as_a_whole(write_shard: Any, suffix: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_shard(tmp_path / f"in/00000.{suffix}", range(8))
    write_shard(tmp_path / f"in/00001.{suffix}", range(8, 12))
    run(tmp_path, **OWN)
    untouched = (tmp_path / f"out/00000.{suffix}").read_bytes()
    write_shard(tmp_path / f"in/00001.{suffix}", range(8, 15))
    done = run(tmp_path, **OWN)
    assert (tmp_path / f"out/00000.{suffix}").read_bytes() == untouched
    assert done["export"].facts["images"] == 7
    assert facts(done)["images"] == 15
