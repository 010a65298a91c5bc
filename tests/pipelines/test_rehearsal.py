"""A dry run is the truth: it finds what a real run would refuse, and writes nothing."""

import os
from pathlib import Path

import pytest
from conftest import image_bytes
from PIL import Image

from ray_ue.cli.main import main
from ray_ue.config.recipe import AUTOMATIC, Recipe
from ray_ue.pipelines import protect, rehearsal
from ray_ue.pipelines.rehearsal import look, problems


def write(root: Path, names: list[str], *, bad: int = 0) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"" if number < bad else image_bytes(number))
    return root


def found(source: Path, output: Path, **fields: object) -> list[str]:
    recipe = Recipe(**{"method": "noise", **fields})  # type: ignore[arg-type]
    job = protect.plan(str(source), str(output), recipe=recipe, resources=AUTOMATIC)
    return list(problems(job, look(job)))


NAMES = [f"{kind}/{number}.png" for kind in ("cats", "dogs") for number in range(4)]
REFUSED = {
    "clusters": (NAMES, {"clusters": 100}, 0, "100 clusters need at least 100 images, there are 8"),
    "further clusters": (NAMES, {"clusters": 2, "also_clusters": "50", "method": "em", "per": "group"}, 0, "50 clusters need"),
    "labels": (["a.png", "b.png", "cats/c.png"], {"groups": "label"}, 0, "2 of 3 images have no label"),
    "one label": (["cats/a.png", "cats/b.png"], {"groups": "label"}, 0, "all images have the same label"),
    "unreadable": (NAMES, {"clusters": 2}, 4, "4 of 8 images cannot be used.*cats/0.png: zero bytes.*fetch empty"),
    "one image": (["a.png"], {"per": "group", "clusters": 2}, 0, "there is 1 image"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_run_would_refuse_is_found(case: str, tmp_path: Path) -> None:
    import re

    names, fields, bad, phrase = REFUSED[case]
    told = found(write(tmp_path / "in", names, bad=bad), tmp_path / "out", **fields)
    assert any(re.search(phrase, problem) for problem in told), told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seen", ["whole", "header"])
def test_files_that_are_cut_off_are_found_as_far_as_pixels_are_decoded(seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (source := write(tmp_path / "in", NAMES), *NAMES)[1:5]:
        (source / name).write_bytes((source / name).read_bytes()[:-400])
    if seen == "header":
        monkeypatch.setattr(rehearsal, "PIXELS", 0)
    told = found(source, tmp_path / "out", clusters=2)
    assert [("4 of 8 images cannot be used" in problem, "cats/0.png: truncated" in problem) for problem in told] == (
        [(True, True)] if seen == "whole" else []
    )


def test_a_run_that_works_has_no_problem(tmp_path: Path) -> None:
    assert found(write(tmp_path / "in", NAMES), tmp_path / "out", clusters=2) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot write" in found(write(tmp_path / "in", NAMES), tmp_path / "closed/out", clusters=2)[0]


def test_a_dry_run_ends_as_the_run_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in", NAMES)
    flags = ["--method", "noise", "--per", "image", "--dry-run"]
    assert main(["protect", str(source), str(tmp_path / "out"), *flags]) == 0
    assert main(["protect", str(source), str(tmp_path / "out"), "--method", "noise", "--clusters", "9", "--dry-run"]) == 2
    assert "ray-ue: 9 clusters need at least 9 images, there are 8" in capsys.readouterr().err


def test_a_plan_names_what_would_be_left_out_and_what_web_sites_make_smaller(tmp_path: Path) -> None:
    source = write(tmp_path / "in", NAMES, bad=1)
    Image.new("RGB", (2100, 16)).save(source / "cats/wide.png")
    job = protect.plan(str(source), str(tmp_path / "out"), recipe=Recipe(method="noise", per="image"), resources=AUTOMATIC)
    found = look(job)
    assert not list(problems(job, found))
    lines = dict(found.lines(job))
    assert lines["rejected"].startswith("1 image to be left out of the 9 looked at (cats/0.png: zero bytes")
    assert lines["warning"].startswith("1 image larger than web sites keep (social), such as cats/wide.png")
    assert protect.describe(job, found).count(lines["rejected"]) == 1
    assert look(protect.plan(str(source), str(tmp_path / "out"), recipe=Recipe(resize=64), resources=AUTOMATIC)).large["count"] == 0
