"""A preview shows the method at work on a few images, in one private page, and begins no copy."""

import re
from collections import Counter
from pathlib import Path

import pytest
from conftest import CLASSES, image_bytes, write_classes
from sources.source_makers import MAKERS

from ray_ue.cli.main import main
from ray_ue.cli.preview import SIDE, sample_images, shorten_recipe
from ray_ue.config.recipe import Recipe
from ray_ue.images.codec import Limits
from ray_ue.sources import open_source


def test_a_sample_is_spread_over_the_classes_and_keeps_their_labels(tmp_path: Path) -> None:
    source = open_source(str(write_classes(tmp_path / "in", range(90))), format="auto")
    taken = list(sample_images(source, count=30, limits=Limits()))
    assert len(taken) == 30
    assert Counter(one.label for one in taken) == dict.fromkeys(range(len(CLASSES)), 10)


@pytest.mark.parametrize("format", MAKERS)
def test_a_sample_can_be_taken_of_every_format(format: str, tmp_path: Path) -> None:
    source = open_source(str(MAKERS[format](tmp_path / "in")), format="auto")
    assert [one.rgb.shape for one in sample_images(source, count=2, limits=Limits(min_side=1))] == [(8, 8, 3)] * 2


def test_photographs_are_made_small_and_broken_images_left_out(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(image_bytes(1, height=2 * SIDE, width=SIDE))
    (tmp_path / "broken.png").write_bytes(image_bytes(2)[:40])
    taken = list(sample_images(open_source(str(tmp_path), format="auto"), count=5, limits=Limits()))
    assert [one.rgb.shape for one in taken] == [(SIDE, SIDE // 2, 3)]


def test_a_preview_keeps_what_shapes_the_look_and_drops_what_belongs_to_the_collection() -> None:
    asked = Recipe(format="parquet", embeddings="photos-clip", budget="high", clusters=7, groups="label", method="uc", steps=400)
    made = shorten_recipe(asked)
    assert (made.format, made.embeddings) == ("folder", "")
    assert made.steps < asked.steps
    assert (made.budget, made.clusters, made.groups, made.method) == (asked.budget, asked.clusters, asked.groups, asked.method)


@pytest.mark.ray
@pytest.mark.slow
def test_a_preview_is_one_page_beside_an_output_that_is_not_begun(
    ray_session: None, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["protect", str(photos), str(tmp_path / "out"), "--clusters", "3", "--strength", "low", "--preview", "4"]
    assert (
        main([*words, "--method=uc", "--surrogate=ssl:small", "--image-size=32", "--ssl-steps", "5", "--steps", "10", "--batch", "16"]) == 0
    )
    assert f"{tmp_path}/out.preview.html" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.preview.html", "photos"]
    page = (tmp_path / "out.preview.html").read_text()
    assert len(re.findall(r'class="pair"', page)) == 4
    assert len(re.findall(r"<img", page)) == 12
    assert "8/255" in page
    assert "private" in page


@pytest.mark.ray
@pytest.mark.parametrize("flags", [["--image-format=webp"], ["--image-format=jpeg"], ["--resize=24"]], ids=["webp", "jpeg", "resized"])
def test_a_preview_shows_what_is_published_in_every_form(flags: list[str], ray_session: None, photos: Path, tmp_path: Path) -> None:
    words = ["protect", str(photos), str(tmp_path / "out"), "--method=noise", "--per=image", "--preview=2", *flags]
    assert main(words) == 0
    assert len(re.findall(r'class="pair"', (tmp_path / "out.preview.html").read_text())) == 2


@pytest.mark.ray
def test_a_preview_with_more_clusters_than_images_says_so(
    ray_session: None, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["protect", str(photos), str(tmp_path / "out"), "--clusters", "99", "--preview", "4"]) == 2
    assert "60 usable images for 99 clusters; use fewer --clusters" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
