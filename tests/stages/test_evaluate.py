"""An evaluation on one local Ray: every place filled and beside its controls, nothing trained twice, and honest about what it cannot do."""

import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import CLASSES, write_classes
from shared_work import UC, train_workers

from ray_ue.config.grid import Grid, grid_cells
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.images.codec import Limits, Picture, decode, encode, resized, square_view
from ray_ue.pipelines.evaluate import evaluate
from ray_ue.pipelines.protect import protect
from ray_ue.results.tables import RESULTS
from ray_ue.stages.evaluate.job import EvaluationJob
from ray_ue.storage.artifacts import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session", "one_thread")]

CRAFT: dict[str, Any] = UC | {"craft_sample": 40}


def fields(start: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**start, **changes}


GRID: dict[str, Any] = {
    "victims": "linear",
    "relabels": "identity,pseudo:3,random:3",
    "defenses": "none,grayscale,early",
    "seeds": 2,
    "clean_fraction": "0,0.5",
    "epochs": 1,
    "encoder": "ssl:plain",
    "encoder_steps": 2,
}
SMALL = fields(GRID, relabels="identity", defenses="none", seeds=1, clean_fraction="0")
LOCAL = Resources(workers="local")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The lanes' workers compute with one thread on two cores; sums then have one order everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos`, `test`, and the protected copy `out` with its work folder."""
    root = tmp_path_factory.mktemp("evaluated")
    write_classes(root / "photos", range(60))
    write_classes(root / "test", range(100, 130))
    protect(str(root / "photos"), str(root / "out"), resources=LOCAL, **CRAFT)
    return root


@pytest.fixture(scope="module")
def ran(made: Path, one_thread: None) -> Path:
    """The run folder of the whole grid."""
    return run(made, "results", **GRID)


def run(made: Path, name: str, *copies: str, resources: Resources = LOCAL, **asked: Any) -> Path:
    asked.setdefault("test", str(made / "test"))
    found = evaluate(*(copies or (str(made / "out"),)), results=str(made / name), resources=resources, **asked)
    return Path(found.uri)


def table(folder: Path) -> pa.Table:
    return RESULTS.read(Folder(str(folder)))


def rows(folder: Path) -> list[dict]:
    return table(folder).to_pylist()


def cells(folder: Path) -> dict[str, int]:
    """When each cell was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("cell-*/manifest.json")}


def test_every_place_of_the_grid_is_filled(ran: Path) -> None:
    found = rows(ran)
    asked = grid_cells(Grid(**GRID), copies=1, relabels=("identity", "pseudo:3", "random:3"), patterned=[0])
    names = ("data", "fraction", "victim", "relabel", "defense", "seed")
    assert sorted(tuple(row[name] for name in names) for row in found) == sorted(tuple(getattr(p, name) for name in names) for p in asked)
    assert {row["status"] for row in found} == {"done"}, {row["reason"] for row in found}
    assert (ran / "report.html").stat().st_size > 1000
    assert (ran / "results.md").is_file()
    assert not (ran / "ray-train").exists()
    assert not list(ran.glob("cell-*/checkpoint.safetensors"))


def test_every_protected_victim_has_its_controls_and_is_tested_on_perturbed_images(ran: Path) -> None:
    found = rows(ran)
    seen = {tuple(row[name] for name in ("data", "fraction", "victim", "relabel", "defense", "seed")) for row in found}
    for row in found:
        place = tuple(row[name] for name in ("victim", "relabel", "defense", "seed"))
        assert {("clean", 0.0, *place), ("noise", 0.0, *place), ("pattern", 0.0, *place)} <= seen
        assert (row["perturbed"] is not None) is (row["data"] == "protected")
        assert len(row["curve_perturbed"]) == (1 if row["data"] == "protected" else 0)
        assert row["curve_epoch"] == [1]
        assert row["curve_accuracy"] == [row["accuracy"]], "fewer test rows than are measured after every epoch"
        assert 0 <= row["accuracy"] <= 1
        assert (row["classes"], row["copy"], row["epochs"]) == (3, "out", 1)
        assert row["ami"] is not None
        assert (row["filtered"] is not None) is (row["defense"] == "grayscale"), "early and none filter nothing"
        expected = {"clean-part": 30}.get(row["data"], 60)
        assert row["rows"] == (expected - round(0.1 * expected) if row["defense"] == "early" else expected)
    clean = [row["accuracy"] for row in found if row["data"] == "clean" and row["relabel"] == "identity" and row["defense"] == "none"]
    assert np.mean(clean) > 0.5, "the classes can be told apart"


def test_a_second_call_trains_nothing_and_gives_an_equal_table(made: Path, ran: Path) -> None:
    before, finished = table(ran), cells(ran)
    run(made, "results", **GRID)
    assert cells(ran) == finished
    assert table(ran).equals(before)


def test_another_seed_trains_only_its_own_cells(made: Path, ran: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(ran, made / f"more-{tmp_path.name}"))
    finished, before = cells(mine), {row["cell"] for row in rows(mine)}
    run(made, mine.name, **fields(GRID, seeds=3, defenses="none,grayscale"))
    after = cells(mine)
    assert {name: after[name] for name in finished} == finished
    new = {f"cell-{row['cell']}" for row in rows(mine) if row["seed"] == 2}
    assert set(after) - set(finished) == new
    assert {row["cell"] for row in rows(mine) if row["seed"] < 2} <= before


def test_a_killed_cell_goes_on_from_its_checkpoint(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_ue.exploiter import train
    from ray_ue.stages.evaluate import cell

    asked = fields(SMALL, epochs=3, victims="plain")
    calm = run(made, f"calm-{tmp_path.name}", **asked)
    monkeypatch.setattr(cell, "EVERY_SECONDS", 0.0)
    follow, seen = train.train_victim, []

    def killed(*given: Any, **named: Any) -> Iterator[Any]:
        for epoch in follow(*given, **named):
            seen.append(epoch.epoch)
            yield epoch
            if epoch.epoch == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_victim", killed)
    with pytest.raises(KeyboardInterrupt):
        run(made, f"cut-{tmp_path.name}", **asked)
    assert seen == [1, 2]
    cut = made / f"cut-{tmp_path.name}"
    assert len(list(cut.glob("cell-*/checkpoint.safetensors"))) == 1
    seen.clear()

    def watched(*given: Any, **named: Any) -> Iterator[Any]:
        for epoch in follow(*given, **named):
            seen.append(epoch.epoch)
            yield epoch

    monkeypatch.setattr(train, "train_victim", watched)
    run(made, cut.name, **asked)
    assert seen == [3, *[1, 2, 3] * 3]
    assert not list(cut.glob("cell-*/checkpoint.safetensors"))
    timeless = [name for name in RESULTS.schema.names if name != "seconds"]
    assert table(cut).select(timeless).equals(table(calm).select(timeless))


def test_a_cell_that_fails_is_marked_with_its_reason_and_the_rest_goes_on(made: Path, tmp_path: Path) -> None:
    asked = fields(SMALL, victims="simclr:small,linear", defenses="none,cutmix", train_rows=40)
    found = rows(run(made, f"failed-{tmp_path.name}", **asked))
    for row in found:
        bad = row["victim"] == "simclr:small" and row["defense"] == "cutmix"
        assert row["status"] == ("failed" if bad else "done")
        assert (row["accuracy"] is None) is bad
        assert ("simclr:small makes none; only ones that rewrite images act" in row["reason"]) is bad


def test_a_victim_that_diverges_is_a_failed_one(made: Path, tmp_path: Path) -> None:
    asked = fields(SMALL, victims="mlp2", learning_rate=1e30, batch=10)
    found = rows(run(made, f"diverged-{tmp_path.name}", **asked))
    assert {row["status"] for row in found} == {"failed"}
    assert all(re.search("the training loss is (nan|inf) in epoch 1; a lower --learning-rate than 1e\\+30", row["reason"]) for row in found)


def test_a_relabel_that_cannot_be_made_is_failed_and_the_others_go_on(made: Path, tmp_path: Path) -> None:
    found = rows(run(made, f"relabels-{tmp_path.name}", **fields(SMALL, relabels="identity,super:3")))
    assert {(row["relabel"], row["status"]) for row in found} == {("identity", "done"), ("super:3", "failed")}
    assert all("super:3 is not fewer than the 3 classes" in row["reason"] for row in found if row["relabel"] == "super:3")


def test_a_map_that_was_changed_is_read_anew(made: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "map.json"
    names = []
    for pet in ("cats", "dogs"):
        chosen.write_text(str({name: "pet" if name == pet else "wild" for name in CLASSES}).replace("'", '"'))
        ran = run(made, f"map-{tmp_path.name}", **fields(SMALL, relabels=f"super:{chosen}"))
        names.append({row["cell"] for row in rows(ran)})
    assert not names[0] & names[1]


@pytest.fixture(scope="module")
def foreign(made: Path) -> Path:
    """A copy from elsewhere: no work folder, other names of the files' endings, a known budget."""
    copy = made / "foreign"
    for path in sorted((made / "photos").rglob("*.png")):
        rgb = decode(path.read_bytes(), limits=Limits()).rgb.astype(np.int16)
        sign = np.random.default_rng(int(path.stem)).choice([-6, 6], rgb.shape)
        target = copy / path.relative_to(made / "photos").with_suffix(".webp")
        target.parent.mkdir(parents=True, exist_ok=True)
        changed = np.clip(rgb + sign, 0, 255).astype(np.uint8)
        target.write_bytes(encode(Picture(rgb=changed, alpha=None, exif=b"", icc=b""), format="webp"))
    return copy


def test_a_copy_from_elsewhere_is_evaluated_without_what_cannot_be_known(made: Path, foreign: Path, tmp_path: Path) -> None:
    ran = run(made, f"foreign-{tmp_path.name}", str(foreign), clean=str(made / "photos"), **SMALL)
    assert {(row["ami"], row["purity"], row["perturbed"], row["status"]) for row in rows(ran)} == {(None, None, None, "done")}
    (copy,) = Folder(str(ran)).read_json("run.json")["copies"]
    assert (copy["name"], copy["levels"], copy["recipe"]) == ("foreign", 6, None)
    looks = Folder(str(ran)).child("looks").child("foreign")
    assert looks.exists("features.txt")
    assert looks.read_json("visible.json")["pairs"] > 0
    assert 0 <= looks.read_json("detection.json")["share"] <= 1
    with pytest.raises(ValueError, match=r"--clean is missing and .*foreign.ray-ue, which would name the source"):
        run(made, "never", str(foreign), **SMALL)


def test_copies_share_their_clean_controls(made: Path, foreign: Path, tmp_path: Path) -> None:
    ran = run(made, f"both-{tmp_path.name}", str(made / "out"), str(foreign), **SMALL)
    found = {(row["copy"], row["data"]): row["cell"] for row in rows(ran)}
    assert found["out", "clean"] == found["foreign", "clean"]
    assert found["out", "noise"] != found["foreign", "noise"], "16 and 6 levels"
    assert ("foreign", "pattern") not in found, "nothing is known of its groups"
    assert len(cells(ran)) == 6


def test_random_patterns_follow_the_groups_and_have_the_energy_of_the_copy(made: Path, ran: Path) -> None:
    from ray_ue.stages.evaluate.copies import open_copy, slots
    from ray_ue.stages.protect.views import open_views

    copy = open_copy(str(made / "out"), name="out")
    control = next(child for child in ran.glob("views-*") if '"pattern"' in (child / "manifest.json").read_text())
    before = np.stack([decode(path.read_bytes(), limits=Limits()).rgb for path in sorted((made / "photos").rglob("*.png"))]).astype(int)
    change = open_views(Folder(str(control)))[0] - before
    strength = 255 / 10 ** (copy.artifacts["export"].facts["psnr_mean"] / 20)
    assert np.abs(change).max() == round(strength)
    assert (change * before.clip(1, 254) != 0).mean() > 0.8, "only where the range ends does a value stay"
    untouched = (before > 40) & (before < 215)
    for group in np.unique(groups := slots(copy)):
        rows_of_group = np.flatnonzero(groups == group)
        inside = untouched[rows_of_group].all(0)
        assert (change[rows_of_group][:, inside] == change[rows_of_group[0]][inside]).all()
    first = {group: change[np.flatnonzero(groups == group)[0]] for group in np.unique(groups)}
    assert all((first[one] != first[two]).mean() > 0.3 for one in first for two in first if one < two)


def test_a_purified_folder_is_evaluated_like_a_defense(made: Path, tmp_path: Path) -> None:
    purified = Path(shutil.copytree(made / "out", tmp_path / "blurred"))
    (purified / "cats" / "000.png").unlink()
    ran = run(made, f"purified-{tmp_path.name}", purified=str(purified), **SMALL)
    found = {(row["defense"], row["data"]): row for row in rows(ran)}
    assert len(found) == 8
    assert {row["status"] for row in found.values()} == {"done"}
    assert found["purified:blurred", "protected"]["rows"] == 59
    assert found["purified:blurred", "protected"]["cell"] != found["none", "protected"]["cell"]
    assert found["purified:blurred", "clean"]["cell"] == found["none", "clean"]["cell"]


def test_copies_of_other_images_are_refused(made: Path, tmp_path: Path) -> None:
    other = write_classes(tmp_path / "other", range(200, 260))
    with pytest.raises(ValueError, match=r"is no copy of the clean source: .* only 0 carry a name .*; give --clean the images"):
        run(made, f"no-{tmp_path.name}", str(other), clean=str(made / "test"), **fields(SMALL, test=str(made / "photos")))
    renamed = tmp_path / "renamed"
    for name in CLASSES:
        (renamed / name).mkdir(parents=True)
        for one, two in zip(sorted((other / name).iterdir()), sorted((made / "photos" / name).iterdir())):
            shutil.copy(one, renamed / name / two.name)
    with pytest.raises(ValueError, match="do not look like those of the clean source under the same names"):
        run(made, f"no-{tmp_path.name}", str(renamed), clean=str(made / "photos"), **SMALL)


def test_a_test_set_that_shares_images_with_the_training_set_is_refused(made: Path, tmp_path: Path) -> None:
    test = Path(shutil.copytree(made / "test", tmp_path / "test"))
    for number in (0, 3, 6):
        shutil.copy(made / "photos" / "cats" / f"{number:03d}.png", test / "cats" / f"train-{number}.png")
    with pytest.raises(ValueError, match=r"3 of the 33 test images are also training images, .* give --test images that the copy was not"):
        run(made, f"shared-{tmp_path.name}", test=str(test), **SMALL)


def test_a_test_set_that_is_the_copy_under_another_name_is_refused(made: Path, tmp_path: Path) -> None:
    """Without its private folder beside it nothing but its pixels says that it is a protected copy."""
    given = Path(shutil.copytree(made / "out", tmp_path / "given"))
    with pytest.raises(ValueError, match=r"of the \d+ test images are images of the protected copy .*/out; give --test clean images"):
        run(made, f"given-{tmp_path.name}", test=str(given), **SMALL)


def test_copies_and_clean_images_that_are_swapped_are_refused(made: Path, tmp_path: Path) -> None:
    photos, out, test = (str(made / name) for name in ("photos", "out", "test"))
    for copy, clean, tested, told in (
        (photos, out, test, r"--clean .*/out is a protected copy \(.*/out.ray-ue lies beside it\); name the images"),
        (out, photos, out, r"--test .*/out is a protected copy .*; name clean images, never published"),
        (test, "", out, r"--test .*/out is a protected copy"),
        (test, photos, test, r"--test .*/test is the copy itself"),
    ):
        with pytest.raises(ValueError, match=told):
            run(made, f"swapped-{tmp_path.name}", copy, clean=clean, **fields(SMALL, test=tested))


def test_a_check_needs_no_test_images_and_ends_in_a_sentence(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray_ue.cli.main import main
    from ray_ue.pipelines import check

    monkeypatch.setattr(check, "QUICK", replace(check.QUICK, victims="linear", defenses="none", epochs=1, batch=8, encoder="ssl:plain"))
    assert main(["check", str(made / "out"), "--results", str(tmp_path / "check"), "--workers", "local"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^(This copy (protects|does not)|There is no verdict)", told, re.MULTILINE)
    found = rows(tmp_path / "check")
    assert {row["status"] for row in found} == {"done"}
    assert {(row["data"], row["rows"]) for row in found} == {(data, 45) for data in ("clean", "noise", "pattern", "protected")}
    assert {row["perturbed"] for row in found} == {None}
    assert (tmp_path / "check" / "report.html").is_file()


def test_images_without_labels_say_which_relabels_work(made: Path, tmp_path: Path) -> None:
    photos, test = write_classes(tmp_path / "photos", range(60), flat=True), write_classes(tmp_path / "test", range(100, 130), flat=True)
    copy = Path(shutil.copytree(photos, tmp_path / "copy"))
    with pytest.raises(
        ValueError, match=r"60 of 60 training images have no label, which identity needs; without labels use pseudo, random"
    ):
        run(made, f"flat-{tmp_path.name}", str(copy), clean=str(photos), **fields(SMALL, test=str(test)))
    asked = fields(SMALL, test=str(test), relabels="random:3")
    found = rows(run(made, f"flat-{tmp_path.name}", str(copy), clean=str(photos), **asked))
    assert {row["status"] for row in found} == {"done"}


@pytest.mark.parametrize("change", [{"image_format": "jpeg"}, {"resize": 24}, {"image_format": "jpeg", "resize": 48}])
def test_the_clean_control_goes_through_the_copys_own_path(tmp_path: Path, change: dict[str, Any]) -> None:
    from ray_ue.stages.evaluate.copies import open_copies
    from ray_ue.stages.protect.views import open_views

    photos, test = write_classes(tmp_path / "photos", range(12), side=130), write_classes(tmp_path / "test", range(100, 112), side=130)
    protect(str(photos), str(tmp_path / "out"), resources=LOCAL, **fields(CRAFT, craft_sample=10, **change))
    ran = run(tmp_path, "results", **fields(SMALL, test=str(test), image_size=32))
    (copy,) = open_copies((str(tmp_path / "out"),))
    assert (copy.resize, copy.image_format) == (change.get("resize", 0), change.get("image_format", "png"))
    fields_of = {child: json.loads((child / "manifest.json").read_text())["fields"] for child in ran.glob("views-*")}
    controls = {child: found["control"] for child, found in fields_of.items() if "control" in found}
    mine = {child: control for child, control in controls.items() if control["path"]["image_format"] == copy.image_format}
    mine = {child: control for child, control in mine.items() if control["path"]["resize"] == copy.resize}
    clean, noisy = (next(child for child, control in mine.items() if control["levels"] == levels) for levels in (0, 16))
    expected = []
    for path in sorted(photos.rglob("*.png")):
        picture = decode(path.read_bytes(), limits=Limits())
        picture = resized(picture, size=change["resize"]) if "resize" in change else picture
        saved = decode(encode(picture, format=copy.image_format), limits=Limits()).rgb
        expected.append(square_view(saved, size=32))
    pixels, _ = open_views(Folder(str(clean)))
    assert (pixels == np.stack(expected)).all()
    assert not (open_views(Folder(str(noisy)))[0] == pixels).all()
    copied = next(child for child in ran.glob("views-*") if '"copy"' in (child / "manifest.json").read_text())
    exported = [square_view(decode(path.read_bytes(), limits=Limits()).rgb, size=32) for path in sorted((tmp_path / "out").rglob("*.*g"))]
    assert (open_views(Folder(str(copied)))[0] == np.stack(exported)).all()


def test_a_resized_copy_is_seen_at_its_own_side(tmp_path: Path) -> None:
    photos, test = write_classes(tmp_path / "photos", range(12), side=130), write_classes(tmp_path / "test", range(100, 112), side=130)
    protect(str(photos), str(tmp_path / "out"), resources=LOCAL, **fields(CRAFT, craft_sample=10, resize=24))
    ran = run(tmp_path, "results", **fields(SMALL, test=str(test)))
    assert Folder(str(ran)).read_json("run.json")["chosen"]["image_size"] == 24


def test_clean_images_of_another_listing_do_not_borrow_the_copys_clusters(made: Path, tmp_path: Path) -> None:
    """Row ids are those of one listing: with more images in the source, the copy's slots belong to other rows."""
    clean = Path(shutil.copytree(made / "photos", tmp_path / "clean"))
    write_classes(clean, range(300, 303))
    found = rows(run(made, f"listing-{tmp_path.name}", clean=str(clean), **SMALL))
    assert {row["status"] for row in found} == {"done"}
    assert {row["ami"] for row in found} == {None}


def test_pictures_that_cannot_be_read_are_left_out_and_do_not_stop_the_encoder(tmp_path: Path) -> None:
    photos, test = write_classes(tmp_path / "photos", range(30)), write_classes(tmp_path / "test", range(100, 115))
    for number in range(3):
        (photos / "cats" / f"bad{number}.png").write_bytes(b"nothing")
    protect(str(photos), str(tmp_path / "out"), resources=LOCAL, max_rejected=0.2, **CRAFT)
    found = rows(run(tmp_path, "results", **fields(SMALL, test=str(test), relabels="pseudo:2")))
    assert {(row["status"], row["rows"]) for row in found} == {("done", 30)}


def test_results_inside_a_copy_are_refused(made: Path) -> None:
    """A report shows clean images: inside the copy they would be published with it."""
    for place in ("out/results", "photos/results", "test"):
        with pytest.raises(ValueError, match=r"overlap: .*; write the results to a folder of their own|is not empty and holds no"):
            run(made, place, **SMALL)
        assert not (made / place / "run.json").exists()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_lanes_survive_a_killed_worker_and_give_the_table_of_a_local_run(made: Path, tmp_path: Path) -> None:
    asked = fields(SMALL, seeds=4, victims="plain", epochs=4)
    here = run(made, f"here-{tmp_path.name}", **asked)
    killed: list[int] = []
    over = threading.Event()
    there = made / f"there-{tmp_path.name}"

    def kill() -> None:
        while not over.wait(0.05):
            if cells(there) and (found := train_workers()):
                os.kill(found[-1], signal.SIGKILL)
                killed.append(found[-1])
                return

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    run(made, there.name, resources=Resources(workers="auto"), **asked)
    over.set()
    thread.join()
    assert killed
    measured = ("loss", "accuracy", "perturbed", "train", "class_accuracy", "curve_loss", "curve_accuracy", "curve_perturbed")
    exact = [name for name in RESULTS.schema.names if name not in (*measured, "seconds")]
    assert table(there).select(exact).equals(table(here).select(exact))
    for mine, other in zip(rows(there), rows(here), strict=True):  # other numbers of threads add in other orders
        assert mine["loss"] == pytest.approx(other["loss"], rel=0.02)
        assert mine["accuracy"] == pytest.approx(other["accuracy"], abs=0.1)  # 3 of 30 test images
    assert not (there / "ray-train").exists()


def test_a_run_folder_keeps_its_training_on_machines_of_another_kind(tmp_path: Path) -> None:
    """The same line elsewhere continues, though `auto` stands for something else there."""
    home = Folder.at(str(tmp_path / "run"))
    job = EvaluationJob(
        copies=[], clean="", test="", grid=Grid(), home=home, recipe=Recipe(), resources=Resources(), cells=home, pictured=()
    )
    assert job.trained_on(gpus=1).grid.training == "best"
    assert replace(job, resources=Resources(workers="local")).trained_on(gpus=1).grid.training == "fast"
    home.write_json("run.json", {"request": {"training": "best"}})
    assert job.trained_on(gpus=0).grid.training == "best"
    assert replace(job, grid=Grid(training="paper")).trained_on(gpus=0).grid.training == "paper"
    home.write_json("run.json", {"request": {"training": "paper"}})
    assert job.trained_on(gpus=0).grid.training == "fast"
