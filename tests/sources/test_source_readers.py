"""What other libraries read from a protected copy: as many images, in the same order, with the same classes and words beside them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CLASSES, image_bytes, write_classes
from PIL import Image
from source_makers import tar
from torchvision.datasets import ImageFolder

from ray_ue.sources import open_source


def copied(source: Path, to: Path, *, extension: str) -> Path:
    """Every image two levels brighter, which keeps it well apart from all others."""

    def change(items):
        for item in items:
            rgb = np.asarray(Image.open(io.BytesIO(item.data)).convert("RGB")).astype(int)
            Image.fromarray(np.clip(rgb + 2, 0, 255).astype(np.uint8)).save(
                out := io.BytesIO(), "PNG" if extension == ".png" else "WEBP", lossless=True
            )
            yield out.getvalue()

    found = open_source(str(source))
    for shard in found.shards():
        list(found.rewrite(shard, to=str(to), extension=extension, change=change))
    return to


def near(one: Image.Image, other: Image.Image) -> bool:
    return 0 < np.abs(np.asarray(one.convert("RGB")).astype(int) - np.asarray(other.convert("RGB")).astype(int)).max() <= 2


@pytest.mark.parametrize("extension", [".png", ".webp"])
def test_image_folder_gives_the_same_classes_and_the_same_order(extension: str, tmp_path: Path) -> None:
    photos = write_classes(tmp_path / "in", range(12))
    for name in ("cats/000.jpg", "dogs/deep/001.webp", "owls/z.jpeg"):  # two share a stem with a .png, and one lies deeper
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(image_bytes(len(name), format="webp" if name.endswith("webp") else "jpeg"))
    before, after = ImageFolder(str(photos)), ImageFolder(str(copied(photos, tmp_path / "out", extension=extension)))
    assert after.classes == before.classes == list(CLASSES)
    assert after.class_to_idx == before.class_to_idx
    assert len(after) == len(before) == 15
    assert after.targets == before.targets
    assert all(near(before[i][0], after[i][0]) for i in range(len(after)))


def test_a_webdataset_loader_gets_the_same_samples_batched_and_decoded(tmp_path: Path) -> None:
    webdataset: Any = pytest.importorskip("webdataset", reason="webdataset is not installed")

    for part in range(2):
        members = [
            member
            for i in range(4 * part, 4 * part + 4)
            for member in (
                (f"set/{i:06d}.jpg", image_bytes(i, format="jpeg")),
                (f"set/{i:06d}.cls", b"%d" % (i % 3)),
                (f"set/{i:06d}.txt", f"words of {i}".encode()),
                (f"set/{i:06d}.json", json.dumps({"key": f"{i:06d}", "width": 32}).encode()),
            )
        ]
        tar(tmp_path / f"in/{part:05d}.tar", members)
    copied(tmp_path / "in", tmp_path / "out", extension=".png")

    def read(folder: Path, image: str) -> list:
        urls = [str(path) for path in sorted(folder.glob("*.tar"))]
        return list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("pil").to_tuple(image, "cls", "txt", "json"))

    before, after = read(tmp_path / "in", "jpg"), read(tmp_path / "out", "png")
    assert len(after) == len(before) == 8
    assert [row[1:] for row in after] == [row[1:] for row in before]
    assert [row[1] for row in after] == [i % 3 for i in range(8)]
    assert all(near(one[0], other[0]) for one, other in zip(before, after, strict=True))
    loader = webdataset.WebLoader(
        webdataset.WebDataset(str(tmp_path / "out/{00000..00001}.tar"), shardshuffle=False).decode("torchrgb").to_tuple("png", "cls"),
        batch_size=4,
    )
    assert [(tuple(images.shape), labels.tolist()) for images, labels in loader] == [
        ((4, 3, 32, 32), [0, 1, 2, 0]),
        ((4, 3, 32, 32), [1, 2, 0, 1]),
    ]
