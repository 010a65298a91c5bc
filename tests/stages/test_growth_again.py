"""What happens to a copy in its later runs: pictures that come back, that cannot be read any more, and what is made anew."""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import image_bytes
from growing import LABELS, LOCAL, OWN, run, write

from ray_ue.config.recipe import Recipe
from ray_ue.methods import METHODS
from ray_ue.methods.texture import Texture
from ray_ue.pipelines import generations, growth
from ray_ue.pipelines import protect as pipeline
from ray_ue.pipelines.evaluate import evaluate
from ray_ue.pipelines.evaluate_stages import remove_outdated
from ray_ue.pipelines.generations import has_images
from ray_ue.pipelines.protect import protect
from ray_ue.results.tables import RESULTS
from ray_ue.sources import open_source
from ray_ue.stages.evaluate.copies import open_copies, short_names
from ray_ue.stages.evaluate.data import wanted_pairs
from ray_ue.stages.evaluate.pairing import pair
from ray_ue.stages.evaluate.sources import IndexedSource
from ray_ue.storage.artifacts import Artifact, opened

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
NAMES = [f"{kind}/{number}.png" for kind in ("cats", "dogs") for number in range(4)]


@dataclass(frozen=True, kw_only=True)
class InShades(Texture):
    """The method as an earlier version had it."""

    colours: str = "shades"


def verified(root: Path) -> int:
    """How many images a verification compares."""
    return pipeline.verify(str(root / "out"), resources=LOCAL)[1]["export"].folder.read_json("verified.json")["images"]


def published(root: Path) -> set[str]:
    return {path.relative_to(root / "out").as_posix() for path in (root / "out").rglob("*") if path.is_file()}


def parquet(path: Path, numbers: range, *, broken: int = -1) -> None:
    path.parent.mkdir(exist_ok=True)
    images = [{"bytes": b"none" if number == broken else image_bytes(number), "path": None} for number in numbers]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(images, kind), "label": [number % 2 for number in numbers]}), path)


def test_a_copy_of_an_earlier_version_keeps_its_patterns_when_the_defaults_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two versions of one picture could be averaged, and nobody asked for another copy."""
    waves: dict[str, Any] = {"method": "texture", "groups": "label"}
    write(tmp_path / "in", NAMES)
    with monkeypatch.context() as earlier:
        earlier.setitem(METHODS, "texture", InShades)
        run(tmp_path, **waves)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in published(tmp_path)}
    capsys.readouterr()
    for fresh in ([], ["cats/new.png"], []):
        write(tmp_path / "in", fresh, first=50)
        done = run(tmp_path, **waves)
        assert {name: (tmp_path / "out" / name).read_bytes() for name in before} == before
        assert "an earlier version made this copy with other defaults (another value of colours)" in capsys.readouterr().err
    assert published(tmp_path) == {*NAMES, "cats/new.png"}
    assert "colours" not in done["craft"].manifest.fields["settings"]  # the new picture has the waves of its class, in shades
    assert verified(tmp_path) == len(NAMES) + 1
    run(tmp_path, anew=True, **waves)
    assert "earlier version" not in capsys.readouterr().err
    assert not any((tmp_path / "out" / name).read_bytes() == data for name, data in before.items())


@pytest.mark.parametrize("kind", [OWN, LABELS], ids=["image", "group"])
def test_a_picture_that_was_pruned_may_come_back_and_be_pruned_again(kind: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **kind)
    new = tmp_path / "in/cats/new.png"
    for _ in range(2):
        write(tmp_path / "in", ["cats/new.png"], first=50)
        run(tmp_path, **kind)
        assert published(tmp_path) == {*NAMES, "cats/new.png"}
        assert verified(tmp_path) == 9
        new.unlink()
        run(tmp_path, prune=True, **kind)
        assert published(tmp_path) == set(NAMES)
        assert verified(tmp_path) == 8


def test_a_run_after_a_pruning_writes_nothing_again(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/0.png").unlink()
    run(tmp_path, prune=True, **OWN)
    exports = {path.name for path in (tmp_path / "out.ray-ue").glob("export-*")}
    run(tmp_path, **OWN)
    assert {path.name for path in (tmp_path / "out.ray-ue").glob("export-*")} == exports
    assert verified(tmp_path) == 7


def test_what_the_owner_took_away_leaves_a_copy_that_is_made_anew(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    (tmp_path / "in/cats/0.txt").write_text("a private caption")
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/0.txt").unlink()
    run(tmp_path, anew=True, **OWN)
    assert published(tmp_path) == set(NAMES)


def test_a_shard_that_was_taken_away_leaves_a_copy_that_is_made_anew(tmp_path: Path) -> None:
    parquet(tmp_path / "in/new.parquet", range(8))
    parquet(tmp_path / "in/old.parquet", range(8, 16))
    run(tmp_path, **OWN)
    (tmp_path / "in/old.parquet").unlink()
    run(tmp_path, anew=True, **OWN)
    assert published(tmp_path) == {"new.parquet"}
    assert verified(tmp_path) == 8


def test_an_evaluation_looks_at_the_patterns_of_the_newest_copy(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    for number in range(3):
        write(tmp_path / "in", [f"dogs/new-{number}.png"], first=90 + number)
        done = run(tmp_path, anew=True, **LABELS)
        (copy,) = open_copies((str(tmp_path / "out"),))
        assert copy.artifacts["export"].fingerprint == done["export"].fingerprint


def test_a_picture_without_an_extension_joins(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    write(tmp_path / "in", ["cats/IMG_0001"], first=60)
    assert has_images(open_source(str(tmp_path / "in")), ["cats/IMG_0001"])
    run(tmp_path, **OWN)
    assert published(tmp_path) == {*NAMES, "cats/IMG_0001.png"}


def test_a_class_whose_name_is_no_text_is_protected(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    old = os.fsencode(tmp_path / "in") + b"/caf\xe9"
    try:
        os.mkdir(old)
    except OSError:
        pytest.skip("this file system takes names that are text alone")
    Path(os.fsdecode(old + b"/0.png")).write_bytes(image_bytes(70))
    run(tmp_path, **OWN)
    assert published(tmp_path) == {*NAMES, "café/0.png"}


def test_a_changed_picture_that_cannot_be_read_any_more_leaves_the_copy(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/0.png").write_bytes(image_bytes(80)[:200])
    write(tmp_path / "in", [f"dogs/new-{number}.png" for number in range(4)], first=90)
    run(tmp_path, **OWN)
    assert "cats/0.png" not in published(tmp_path)
    assert verified(tmp_path) == 11


def test_rows_of_pictures_that_were_left_out_do_not_come_back(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    (tmp_path / "in/cats/broken.png").write_bytes(image_bytes(80)[:200])

    def describe(names: list[str]) -> None:
        (tmp_path / "in/metadata.csv").write_text("file_name,text\n" + "".join(f"{name},words\n" for name in names))

    def described() -> list[str]:
        with (tmp_path / "out/metadata.csv").open() as file:
            return [row["file_name"] for row in csv.DictReader(file)]

    describe([*NAMES, "cats/broken.png"])
    run(tmp_path, **OWN)
    assert described() == NAMES
    write(tmp_path / "in", ["dogs/new.png"], first=90)
    describe([*NAMES, "cats/broken.png", "dogs/new.png"])
    run(tmp_path, **OWN)
    assert described() == [*NAMES, "dogs/new.png"]


def test_an_emptied_copy_that_has_grown_is_not_filled_with_another_budget(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    write(tmp_path / "in", ["cats/new.png"], first=50)
    run(tmp_path, **OWN)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ValueError, match="holds a copy made with another recipe: budget"):
        run(tmp_path, budget="8/255", **OWN)
    run(tmp_path, **OWN)
    assert published(tmp_path) == {*NAMES, "cats/new.png"}


@pytest.mark.parametrize("change", ["nothing", "a text", "another shard", "new rows"])
def test_rows_behind_a_rejected_one_belong_to_their_own_originals(change: str, tmp_path: Path) -> None:
    parquet(tmp_path / "in/m.parquet", range(12), broken=3)
    run(tmp_path, **OWN)
    if change == "a text":
        (tmp_path / "in/README.md").write_text("words")
    if change in ("another shard", "new rows"):
        parquet(tmp_path / ("in/a.parquet" if change == "another shard" else "in/z.parquet"), range(20, 24))
    if change == "new rows":
        run(tmp_path, **OWN)
    (copy,) = open_copies((str(tmp_path / "out"),))
    clean, copied = (indexed(tmp_path / name, to=tmp_path / f"index-{name}") for name in ("in", "out"))
    found = pair(clean, copied, copy)
    moved = 4 if change == "another shard" else 0
    expected = [(row + moved, row - (row > 3)) for row in range(12) if row != 3]
    expected += [(row, row - 1) for row in range(12, 16)] if change == "new rows" else []
    assert list(zip(found.clean.tolist(), found.copy.tolist(), strict=True)) == expected
    assert found.exact is (change == "nothing")


def indexed(folder: Path, *, to: Path) -> Artifact:
    """The index of a folder, as a run of its own makes it."""
    done = protect(folder, to, resources=LOCAL, until="index", **OWN)
    return opened(done["index"].folder)


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["/a/copy"], ["copy"]),
        (["/a/one", "/a/two"], ["one", "two"]),
        (["/a/copy", "/b/copy", "/b/two"], ["a-copy", "b-copy", "two"]),
        (["/1/out/photos", "/2/out/photos"], ["1-out-photos", "2-out-photos"]),
        (["/a/c", "/b/a-c", "/d/c"], ["/"]),
    ],
)
def test_copies_have_names_of_their_own(places: list[str], names: list[str]) -> None:
    found = short_names(places)
    assert len(set(found)) == len(places)
    assert names == ["/"] or found == names


def test_a_copy_in_a_folder_of_old_bytes_has_a_name_that_a_table_takes() -> None:
    assert short_names(["/a/caf\udce9"]) == ["caf\\udce9"]


def test_a_path_that_reads_as_a_chain_of_addresses_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    write(tmp_path / "Trip::2020", NAMES)
    for source, output in ((tmp_path / "in", tmp_path / "Trip::2020/copy"), (tmp_path / "Trip::2020", tmp_path / "out")):
        with pytest.raises(ValueError, match="'::' in it"):
            pipeline.plan(str(source), str(output), recipe=Recipe(**OWN), resources=LOCAL)


def test_an_evaluation_knows_the_recipe_of_a_copy_that_has_grown(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, resize=24, image_format="webp", **LABELS)
    write(tmp_path / "in", ["cats/new.png", "dogs/new.png"], first=50)
    run(tmp_path, resize=24, image_format="webp", **LABELS)
    (copy,) = open_copies((str(tmp_path / "out"),))
    assert (copy.resize, copy.image_format, copy.artifacts) == (24, "webp", {})
    write(tmp_path / "test", NAMES, first=100)
    grid: dict[str, Any] = {"victims": "linear", "relabels": "identity", "defenses": "none", "seeds": 1, "epochs": 1, "batch": 4}
    results = evaluate(tmp_path / "out", clean=tmp_path / "in", test=tmp_path / "test", results=tmp_path / "r", resources=LOCAL, **grid)
    assert {row["data"] for row in RESULTS.read(results).to_pylist()} == {"clean", "noise", "pattern", "protected"}
    assert results.read_json("run.json")["copies"][0]["grouped"] is True
    remove_outdated(results, results.read_json("run.json"))
    assert results.exists(RESULTS.name)
    remove_outdated(results, results.read_json("run.json") | {"test": "other"})
    assert not results.exists(RESULTS.name)


def test_rows_of_a_copy_made_here_keep_that_the_ledger_pairs_them(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    (copy,) = open_copies((str(tmp_path / "out"),))
    sides = []
    for name in ("in", "out"):
        side = object.__new__(IndexedSource)  # only its index matters
        object.__setattr__(side, "index", indexed(tmp_path / name, to=tmp_path / f"index-{name}"))
        sides.append(side)
    clean, copied = sides
    assert wanted_pairs(copy, copied, clean, np.arange(4)).exact


READER = """
import io
from PIL.PngImagePlugin import PngImageFile

def HeifImageFile(file):
    return PngImageFile(io.BytesIO(file.read()[24:]))
"""


def test_pictures_that_a_package_reads_join_once_it_is_installed(tmp_path: Path) -> None:
    """The advice of the first run, followed: the reader here takes a PNG out of a HEIC's head."""
    write(tmp_path / "in", [f"cats/{number}.png" for number in range(12)])
    for number in (12, 13):
        (tmp_path / f"in/cats/{number}.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(12) + image_bytes(number))
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/pi_heif.py").write_text(READER)
    line = [sys.executable, "-m", "ray_ue", "protect", str(tmp_path / "in"), str(tmp_path / "out"), "--method=noise", "--per=image"]

    def told(*packages: str) -> str:
        plain = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        path = os.pathsep.join((*packages, str(Path(__file__).parents[2])))
        done = subprocess.run([*line, "--workers=local"], env=plain | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "pip install 'ray-ue[heic]'" in told()
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    assert len(first) == 12
    assert "join  2 files" in told(str(tmp_path / "packages"))
    second = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    assert second.keys() - first.keys() == {"12.png", "13.png"}
    assert all(second[name] == data for name, data in first.items())


def test_pictures_that_a_package_reads_make_another_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A join that was given up for want of the package is not taken up where it was left: its parts hold the old reasons."""
    write(tmp_path / "in", ["cats/a.png", "cats/b.png"])
    run(tmp_path, **OWN)
    (tmp_path / "in/cats/c.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(growth, "join_stages", lambda run, first: seen.append(run.source.unread) or iter(()))
    for reader in ("", "pi_heif"):
        monkeypatch.setattr(generations, "heif_reader", lambda reader=reader: reader)
        with pytest.raises(KeyError):  # nothing was exported
            run(tmp_path, **OWN)
    assert seen == [("heif",), ()]


def test_a_copy_that_was_not_finished_is_begun_again_once_a_package_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in", ["cats/a.png", "cats/b.heic"])
    monkeypatch.setattr(generations, "heif_reader", lambda: "")
    assert generations.unread(open_source(str(tmp_path / "in"))) == ("heif",)
    monkeypatch.setattr(generations, "heif_reader", lambda: "pi_heif")
    assert generations.unread(open_source(str(tmp_path / "in"))) == ()
    (tmp_path / "in/cats/b.heic").unlink()
    monkeypatch.setattr(generations, "heif_reader", lambda: "")
    assert generations.unread(open_source(str(tmp_path / "in"))) == ()
