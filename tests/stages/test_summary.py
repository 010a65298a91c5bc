"""The last lines of a run: what weakens or voids the protection is said, and the change that is claimed is the one that readers decode."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from conftest import image_bytes, photo
from perturbations.test_poisons import POISON

from ray_ue.cli.output import ORDER, change_lines, file_lines, print_copy
from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.images.codec import Limits, decode
from ray_ue.images.platforms import PLATFORMS
from ray_ue.images.png import write_png
from ray_ue.images.quality import deviation
from ray_ue.sources import Item, open_source
from ray_ue.stages.protect.join import spread_of_others
from ray_ue.stages.protect.ledger import LEDGER
from ray_ue.stages.protect.rejected import SCHEMA, write_list
from ray_ue.stages.protect.summary import DRIFT, FEW, FEW_DRIFT, beside, summarise, warnings_of
from ray_ue.stages.protect.writer import Writer
from ray_ue.storage.artifacts import Artifact, Folder, Manifest

GROUPS = {"sizes": [3, 2]}
GOOD: dict[str, Any] = {
    "most": 16,
    "height": 100,
    "width": 200,
    "bytes": 9,
    "psnr": 30.0,
    "ssim": 0.9,
    "notes": [],
    "slot": 0,
    "reason": None,
}


def facts_of(tmp_path: Path, *lines: dict[str, Any]) -> dict:
    folder = Folder(str(tmp_path / "export"))
    rows = [GOOD | {"id": number, "key": f"{number}.jpg"} | line for number, line in enumerate(lines)]
    folder.write_table("ledger/shard-000000.parquet", pa.Table.from_pylist(rows, schema=LEDGER))
    return summarise(folder, {}, ["shard-000000.parquet"], budget=16)


def said(tmp_path: Path, *lines: dict[str, Any], groups: dict[str, Any] = GROUPS, recipe: Recipe = Recipe()) -> str:  # noqa: B008 - frozen
    return "\n".join(warnings_of(facts_of(tmp_path, {}, *lines), groups=groups, recipe=recipe))


def test_a_copy_without_fault_has_no_warning(tmp_path: Path) -> None:
    assert said(tmp_path) == ""


def test_images_that_are_hardly_protected_are_counted_and_named(tmp_path: Path) -> None:
    text = said(tmp_path, {"most": 7}, {"most": 8})
    assert "1 image changed by less than half of the budget" in text
    assert "1.jpg" in text


def test_empty_clusters_are_a_warning(tmp_path: Path) -> None:
    assert "3 of 5 clusters are empty" in said(tmp_path, groups={"sizes": [9, 0, 0, 0, 1], "empty": 3})


@pytest.mark.parametrize(
    ("drift", "joined", "warns"),
    [(DRIFT, FEW, False), (DRIFT + 0.1, FEW, True), (DRIFT + 0.1, FEW - 1, False), (FEW_DRIFT + 0.1, FEW - 1, True)],
)
def test_a_collection_that_has_changed_much_should_be_made_anew(drift: float, joined: int, warns: bool, tmp_path: Path) -> None:
    assert ("--anew" in said(tmp_path, groups=GROUPS | {"sizes": [joined - 1, 1], "drift_ratio": drift})) == warns


@pytest.mark.parametrize(("rows", "clusters"), [(40, 2), (300, 20), (600, 60)])
def test_more_rows_like_the_first_have_not_drifted_and_others_have(rows: int, clusters: int) -> None:
    """In many dimensions, where rows lie nearer to a centre that they have a part in."""
    rng = np.random.default_rng(0)
    middles = rng.normal(0, 1, (clusters, 256))
    first, same = (np.repeat(middles, count // clusters, 0) + rng.normal(0, 1, (count, 256)) for count in (rows, 600))
    other = rng.normal(0, 1.4, (600, 256))
    centres = first.reshape(clusters, -1, 256).mean(1)

    def spread(points: np.ndarray) -> float:
        return float(((points[:, None] - centres) ** 2).sum(2).min(1).mean())

    expected = spread_of_others(spread(first), [rows // clusters] * clusters)
    assert spread(same) / expected == pytest.approx(1, abs=0.05)
    assert spread(other) / expected > DRIFT


def test_pictures_that_web_sites_make_smaller_are_counted_and_the_sites_named(tmp_path: Path) -> None:
    longest = int(PLATFORMS["social"].longest)
    text = said(tmp_path, {"width": longest + 1}, {"width": longest}, {"height": 4000, "width": 6000})
    assert "2 images larger than web sites keep (mastodon, social, wordpress), such as 1.jpg, 3.jpg" in text
    assert "--resize" in text
    assert f"--resize {longest + 1} is more than they keep" in said(tmp_path, {"width": 2049}, recipe=Recipe(resize=longest + 1))


def test_a_lossy_format_is_a_warning_with_the_change_that_a_reader_sees(tmp_path: Path) -> None:
    assert "a reader decodes changes of up to 25 levels" in said(tmp_path, {"most": 25}, recipe=Recipe(image_format="jpeg"))


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
def test_the_change_in_the_ledger_is_that_of_decoded_files(format: str, unchecked: None) -> None:
    nothing = cast(Any, None)
    fields: dict[str, Any] = {"resize": 0, "image_format": format, "strip": "location", "limits": Limits(), "ssim_every": 50, "threads": 1}
    writer = Writer(source=nothing, output="", index=nothing, poison=nothing, ledger=nothing, **fields)
    clean = np.clip(photo(0, height=64, width=64), 20, 235)
    data, line = writer.protect(Item(key="a", data=write_png(clean, None, exif=b"", icc=b"")), 1, 1, POISON)
    assert data
    decoded = decode(data, limits=Limits()).rgb
    assert line["most"] == deviation(clean, decoded)
    assert (line["most"] > POISON.most) == (format == "jpeg")


def test_a_budget_that_a_format_breaks_is_not_claimed() -> None:
    facts = {"most_levels": 25, "ssim_images": 0, "psnr_mean": 30.0}
    assert "16/255 is exceeded" in change_lines(Recipe(budget="16", image_format="jpeg"), facts)[0]
    assert "of the 16/255 budget" in change_lines(Recipe(budget="16"), facts | {"most_levels": 16})[0]


def test_a_run_ends_with_the_order_that_protects_and_then_its_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(image_bytes(0))
    nothing = {"count": 0, "some": []}
    facts = facts_of(tmp_path, {}) | {"carried": nothing, "left_out": {}, "renamed": nothing, "warnings": ["it is weak"]}
    manifest = Manifest(stage="export", fingerprint="0", fields={}, inputs={}, facts=facts, versions={})
    artifact = Artifact(folder=Folder(str(tmp_path / "export")), manifest=manifest)
    output, work = Folder(str(tmp_path / "copy")), Folder(str(tmp_path / "copy.ray-ue"))
    job = Job(source=open_source(str(tmp_path / "photos")), recipe=Recipe(), resources=Resources(), output=output, work=work)
    print_copy(job, {"export": artifact}, "export")
    assert capsys.readouterr().out.splitlines()[-2:] == [f"publish         {ORDER}", "warning         it is weak"]


def test_every_file_beside_the_images_stands_in_a_list(tmp_path: Path) -> None:
    for name in ("a.png", "a.txt", "clean.npy", "film.mov"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(image_bytes(0) if name == "a.png" else b"words")
    folder, source = Folder(str(tmp_path / "export")), open_source(str(tmp_path / "in"))
    folder.write_table("others/shard-000000.parquet", pa.table({"name": ["a.txt"], "sha256": [""], "bytes": [5]}))
    write_list(folder, SCHEMA.empty_table())
    facts = beside(source, source, folder, extension=".png")
    assert facts["carried"] == {"count": 1, "some": ["a.txt"]}
    assert folder.read("beside.txt").decode() == (
        "copied\ta.txt\nleft out\tclean.npy\tarrays and weights\nleft out\tfilm.mov\tvideo and sound\n"
    )
    empty = {"carried": {"count": 0, "some": []}, "left_out": {}, "renamed": {"count": 0, "some": []}}
    many = empty | {"renamed": {"count": 4, "some": ["a", "b", "c"]}}
    assert file_lines(empty, folder) == []
    assert file_lines(many, folder)[-1].endswith("export/beside.txt")
