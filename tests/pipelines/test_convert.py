"""A copy in the forms that other people's evaluation code reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import image_bytes
from PIL import Image

from ray_ue.cli.main import main
from ray_ue.pipelines.convert import convert


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, numbers in (("ants", (0, 1)), ("bees", (2, 3, 4))):
        (folder / name).mkdir(parents=True)
        for number in numbers:
            (folder / name / f"{number}.png").write_bytes(image_bytes(number, height=24, width=24))
    return folder


def originals(photos: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(photos.rglob("*.png"))])


def test_a_file_of_tensors_holds_every_image_and_label_in_order(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(photos), str(tmp_path / "copy.pt")]) == 0
    assert capsys.readouterr().out == f"5 images of 24x24 in {tmp_path / 'copy.pt'}\n"
    found = torch.load(tmp_path / "copy.pt", weights_only=True)
    assert found["labels"].tolist() == [0, 0, 1, 1, 1]
    assert found["data"].dtype == torch.float32
    assert np.array_equal((found["data"] * 255).round().byte().permute(0, 2, 3, 1).numpy(), originals(photos))


def test_arrays_and_numbered_pictures_hold_the_same(photos: Path, tmp_path: Path) -> None:
    convert(photos, tmp_path / "copy.npz")
    convert(photos, tmp_path / "copy")
    with np.load(tmp_path / "copy.npz") as found:
        assert np.array_equal(found["data"], originals(photos))
        assert found["labels"].tolist() == [0, 0, 1, 1, 1]
    pictures = [np.asarray(Image.open(tmp_path / "copy" / f"{number}.png")) for number in range(5)]
    assert np.array_equal(np.stack(pictures), originals(photos))
    assert len(list((tmp_path / "copy").iterdir())) == 5


def test_images_of_several_sizes_become_squares_where_that_is_asked_for(photos: Path, tmp_path: Path) -> None:
    (photos / "bees" / "5.png").write_bytes(image_bytes(5, height=40, width=30))
    with pytest.raises(ValueError, match=r"bees/5.png has 30x40 pixels, those before it 24x24; --size 32 makes all of them squares"):
        convert(photos, tmp_path / "copy.pt")
    assert not list(tmp_path.glob("*copy.pt*"))
    assert convert(photos, tmp_path / "copy.pt", size=16).startswith("6 images of 16x16")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("photos/copy.pt", "would become a part of that copy"),
        ("there.pt", "is there already; name a new file or folder"),
        ("copy.pkl", r"ending .*\.npz"),
    ],
)
def test_a_wrong_target_is_refused_before_anything_is_written(target: str, told: str, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "there.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=told):
        convert(photos, tmp_path / target)
    assert not [path for path in tmp_path.rglob("*") if "draft" in path.name]


def test_what_cannot_be_read_or_has_no_label_is_named_and_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "0.png").write_bytes(image_bytes(0))
    with pytest.raises(ValueError, match="has images without labels"):
        convert(tmp_path / "flat", tmp_path / "flat.pt")
    assert convert(tmp_path / "flat", tmp_path / "numbered").startswith("1 image of")
    (photos / "bees" / "3.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bees/3.png cannot be read .* mend or remove it"):
        convert(photos, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
