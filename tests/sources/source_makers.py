"""Small collections in every layout."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ray_ue.sources import Item


def picture(seed: int, *, format: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(out, format)
    return out.getvalue()


def identity(items: Iterator[Item]) -> Iterator[bytes]:
    for item in items:
        yield item.data


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_700_000_000, 0o640
            out.addfile(info, io.BytesIO(data))
    return path


def make_folder(root: Path) -> Path:
    pictures = {f"{kind}/{i:03d}.jpg": picture(i, format="JPEG") for kind in ("cats", "dogs") for i in range(5)}
    return fill(root, {**pictures, "dogs/deep/x.webp": picture(99, format="WEBP"), "README.md": b"hello", "cats/000.txt": b"a cat"})


def make_parquet(root: Path) -> Path:
    features = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    root.mkdir(parents=True)
    for part in range(2):
        cells = [{"bytes": picture(100 * part + i, format="JPEG"), "path": f"{i}.jpg"} for i in range(150)]
        columns = {"image": cells, "label": [i % 2 for i in range(150)], "class_name": [("cat", "dog")[i % 2] for i in range(150)]}
        table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})
        pq.write_table(table, root / f"part-{part:02d}.parquet", row_group_size=70, compression="zstd")
    (root / "dataset_info.json").write_text("{}")
    return root


def make_arrow(root: Path) -> Path:
    """As `datasets` 5 saves a data set of two splits, by hand."""
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}, "fingerprint": "0123456789abcdef"})}
    for split, rows in (("test", 20), ("train", 150)):
        (root / split).mkdir(parents=True)
        cells = [{"bytes": picture(rows + i, format="JPEG"), "path": f"{i}.jpg"} for i in range(rows)]
        table = pa.table({"image": cells, "label": [i % 2 for i in range(rows)], "note": [f"{split} {i}" for i in range(rows)]})
        parts = [f"data-{part:05d}-of-00002.arrow" for part in range(2)]
        for part, name in enumerate(parts):
            half = table.slice(part * rows // 2, rows // 2).replace_schema_metadata(about)
            with pa.ipc.new_stream(root / split / name, half.schema) as writer:
                writer.write_table(half, max_chunksize=100)
        state = {"_data_files": [{"filename": name} for name in parts], "_fingerprint": "0123456789abcdef", "_split": split}
        (root / split / "state.json").write_text(json.dumps(state))
        (root / split / "dataset_info.json").write_text(json.dumps({"features": features}))
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    return root


def make_webdataset(root: Path) -> Path:
    for part in range(2):
        samples = range(10 * part, 10 * part + 10)
        members = [
            m
            for i in samples
            for m in ((f"{i:06d}.cls", b"%d" % (i % 3)), (f"{i:06d}.jpg", picture(i, format="JPEG")), (f"{i:06d}.json", b"{}"))
        ]
        tar(root / f"{part:05d}.tar", members)
    (root / "README.md").write_text("hello")
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "folder": make_folder,
    "parquet": make_parquet,
    "arrow": make_arrow,
    "webdataset": make_webdataset,
}
MENDED = "state.json"  # names the rows by a fingerprint of their own, so that the copy's is another
