"""Real photographs as bytes, folders and tar shards: a Parquet sample where there is one, else crops of scikit-learn's two photos."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_sample_images

THUMB = 32
REACH = 96  # side of the piece of a photo that becomes a thumbnail


def photos(folder: Path, *, count: int) -> list[bytes]:
    """`count` JPEG files of natural photographs at their natural sizes; a small sample is gone through again from the start."""
    found = list(islice(stored(folder), count)) or list(islice(cut(), count))
    return [found[i % len(found)] for i in range(count)]


def origin(folder: Path) -> str:
    """What `photos` gives, in words."""
    return "a sample of ImageNet photographs" if any(folder.glob("*.parquet")) else "crops of scikit-learn's two sample photos"


def stored(folder: Path) -> Iterator[bytes]:
    """The images of Parquet files in the Hugging Face layout."""
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=64, columns=["image"]):
            yield from (image["bytes"] for image in batch["image"].to_pylist())


def cut() -> Iterator[bytes]:
    """Endless crops of the two photographs, every one at another place and of another size, as a camera's JPEG."""
    pictures = [Image.fromarray(array) for array in load_sample_images().images]
    rng = np.random.default_rng(0)
    while True:
        picture = pictures[int(rng.integers(len(pictures)))]
        wide, high = int(rng.integers(320, picture.width + 1)), int(rng.integers(240, picture.height + 1))
        left, top = int(rng.integers(picture.width - wide + 1)), int(rng.integers(picture.height - high + 1))
        yield jpeg(picture.crop((left, top, left + wide, top + high)))


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=90)
    return out.getvalue()


def thumbnails(blobs: Sequence[bytes]) -> Iterator[bytes]:
    """Endless small JPEG files, each another piece of a photograph: cheap rows when their number is what matters."""
    opened = [Image.open(io.BytesIO(blob)).convert("RGB") for blob in blobs]
    pictures = [picture for picture in opened if min(picture.size) > REACH]
    rng = np.random.default_rng(0)
    while True:
        for picture in pictures:
            left, top = int(rng.integers(picture.width - REACH)), int(rng.integers(picture.height - REACH))
            yield jpeg(picture.resize((THUMB, THUMB), Image.Resampling.BOX, box=(left, top, left + REACH, top + REACH)))


def as_folder(blobs: Sequence[bytes], folder: Path) -> Path:
    """One file per image, named by its place."""
    folder.mkdir(parents=True)
    for number, blob in enumerate(blobs):
        (folder / f"{number:06d}.jpg").write_bytes(blob)
    return folder


def as_shards(blobs: Iterator[bytes], folder: Path, *, rows: int, per_shard: int) -> Path:
    """WebDataset tar files of `per_shard` rows each, `rows` in all."""
    folder.mkdir(parents=True)
    for begin in range(0, rows, per_shard):
        with tarfile.open(folder / f"{begin // per_shard:05d}.tar", "w") as tar:
            for row, blob in enumerate(islice(blobs, min(per_shard, rows - begin)), begin):
                info = tarfile.TarInfo(f"{row:08d}.jpg")
                info.size = len(blob)
                tar.addfile(info, io.BytesIO(blob))
    return folder
