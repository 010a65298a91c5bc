"""What `datasets` itself says of our copies: the same features, splits, order, labels and other columns, and pixels within the budget."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import CLASSES, image_bytes, photo
from PIL import Image

from ray_ue.images.codec import Limits, Picture, decode, encode
from ray_ue.perturbations.budget import Budget
from ray_ue.sources import Item, Written, open_source

datasets = pytest.importorskip("datasets", reason="datasets is not installed")

BUDGET = Budget(levels=16)
SIDES = (24, 32)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network and no cache of this user; `datasets` reads its settings when it is imported."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def protect(items: Iterator[Item]) -> Iterator[bytes | None]:
    """Every image moved by the whole budget, one way or the other."""
    for number, item in enumerate(items):
        if not item.data:
            yield None
            continue
        rgb = decode(item.data, limits=Limits()).rgb
        moved = np.clip(rgb.astype(int) + (16 if number % 2 else -16), 0, 255).astype(np.uint8)
        yield encode(Picture(rgb=moved, alpha=None, exif=b"", icc=b""), format="png")


def copied(source: Path, to: Path, *, format: str = "auto") -> Path:
    found = open_source(str(source), format=format)
    for shard in found.shards():
        list(found.rewrite(shard, to=str(to), extension=".png", change=protect))
    return to


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(int)


def same_but_for_the_budget(before, after, *, image: str = "image") -> None:
    """That two data sets differ in their pixels alone, and there by the budget at most, but not by nothing."""
    assert after.features == before.features
    assert len(after) == len(before)
    assert after.split == before.split
    assert after.remove_columns(image).to_list() == before.remove_columns(image).to_list()
    for one, other in zip(before, after, strict=True):
        change = np.abs(pixels(one[image]) - pixels(other[image])).max()
        assert 0 < change <= BUDGET.levels


def made(rows: int = 30, *, start: int = 0):
    """Pictures of two sizes with a class, a caption, a list and an own id."""
    features = datasets.Features(
        {
            "id": datasets.Value("int32"),
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=list(CLASSES)),
            "caption": datasets.Value("string"),
            "box": datasets.List(datasets.Value("float32")),
        }
    )
    numbers = range(start, start + rows)
    columns = {
        "id": list(numbers),
        "image": [Image.fromarray(photo(i, height=SIDES[i % 2], width=32)) for i in numbers],
        "label": [i % 3 for i in numbers],
        "caption": [None if i % 7 == 0 else f"picture {i}" for i in numbers],
        "box": [[float(i)] * (i % 3) for i in numbers],
    }
    return datasets.Dataset.from_dict(columns, features=features, split="train")


def test_parquet_opens_with_the_same_features_and_class_names(tmp_path: Path) -> None:
    (tmp_path / "in/data").mkdir(parents=True)
    made().to_parquet(str(tmp_path / "in/data/train-00000-of-00001.parquet"))
    made(9, start=50).to_parquet(str(tmp_path / "in/data/test-00000-of-00001.parquet"))
    copied(tmp_path / "in", tmp_path / "out")
    before, after = (datasets.load_dataset(str(tmp_path / name), cache_dir=str(tmp_path / f"cache-{name}")) for name in ("in", "out"))
    assert set(after) == set(before) == {"train", "test"}
    for split in before:
        same_but_for_the_budget(before[split], after[split])
    assert after["train"].features["label"].names == list(CLASSES)


def test_a_saved_data_set_opens_as_it_was_saved(tmp_path: Path) -> None:
    made().save_to_disk(str(tmp_path / "in"), num_shards=3)
    copied(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in (tmp_path / "in").iterdir())
    same_but_for_the_budget(datasets.load_from_disk(str(tmp_path / "in")), datasets.load_from_disk(str(tmp_path / "out")))


def test_every_split_of_a_saved_dictionary_opens(tmp_path: Path) -> None:
    both = datasets.DatasetDict({"train": made(), "test": made(9, start=50)})
    both.save_to_disk(str(tmp_path / "in"), num_shards={"train": 2, "test": 1})
    source = open_source(str(tmp_path / "in"))
    assert (source.format, source.class_names()) == ("arrow", list(CLASSES))
    assert [row for shard in source.shards() if not shard.files for row in source.rows(shard)["label"].to_pylist()] == [
        *(i % 3 for i in range(50, 59)),
        *(i % 3 for i in range(30)),
    ]
    copied(tmp_path / "in", tmp_path / "out")
    before, after = (datasets.load_from_disk(str(tmp_path / name)) for name in ("in", "out"))
    assert list(after) == list(before) == ["train", "test"]
    for split in before:
        same_but_for_the_budget(before[split], after[split])


def test_a_row_whose_image_is_gone_is_left_out_with_all_its_columns(tmp_path: Path) -> None:
    rows = made(12)
    rows = rows.map(lambda row, i: {"image": None if i in (0, 5) else row["image"]}, with_indices=True, features=rows.features)
    rows.save_to_disk(str(tmp_path / "in"))
    copied(tmp_path / "in", tmp_path / "out")
    after = datasets.load_from_disk(str(tmp_path / "out"))
    assert after["id"][:] == [i for i in range(12) if i not in (0, 5)]


def test_the_copy_does_not_pass_for_the_original(tmp_path: Path) -> None:
    """Caches of `datasets` go by a fingerprint: with the original's they would give what was computed from clean images."""
    made().save_to_disk(str(tmp_path / "in"))
    copied(tmp_path / "in", tmp_path / "out")
    before, after = (datasets.load_from_disk(str(tmp_path / name)) for name in ("in", "out"))
    assert before._fingerprint != after._fingerprint
    states = [json.loads((tmp_path / name / "state.json").read_text()) for name in ("in", "out")]
    assert states[0] | {"_fingerprint": None} == states[1]


def test_what_map_left_beside_a_data_set_is_never_copied(tmp_path: Path) -> None:
    made().save_to_disk(str(tmp_path / "in"))
    saved = datasets.load_from_disk(str(tmp_path / "in"))
    saved.map(lambda row: {"mean": float(pixels(row["image"]).mean())})
    left = [path.name for path in (tmp_path / "in").glob("cache-*.arrow")]
    assert left, "map keeps its results beside the data set"
    with pytest.raises(ValueError, match=rf"holds 1 \.arrow file\(s\) that are no part of the data set, such as {left[0]}"):
        open_source(str(tmp_path / "in")).shards()
    saved.cleanup_cache_files()
    del saved
    for path in (tmp_path / "in").glob("cache-*.arrow"):
        path.unlink()
    assert len(open_source(str(tmp_path / "in")).shards()) == 2


@pytest.mark.parametrize("first", [True, False], ids=["full", "empty at first"])
def test_two_columns_of_images_are_named(first: bool, tmp_path: Path) -> None:
    """Also when the first rows of one hold nothing, so that its bytes tell nothing."""
    rows = made(40)
    masks = [{"bytes": image_bytes(i), "path": None} if first or i > 30 else None for i in range(40)]
    rows = rows.add_column("mask", masks, feature=datasets.Image())
    rows.save_to_disk(str(tmp_path / "arrow"))
    (tmp_path / "parquet").mkdir()
    rows.to_parquet(str(tmp_path / "parquet/x.parquet"))
    for name in ("arrow", "parquet"):
        source = open_source(str(tmp_path / name))
        with pytest.raises(ValueError, match="several columns that may hold the images: image, mask; drop all but one"):
            source.rows(source.shards()[0])


def folder(root: Path) -> Path:
    for number in range(12):
        kind = CLASSES[number % 3]
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / f"{number:02d}.jpg").write_bytes(image_bytes(number, format="jpeg"))
    return root


def loaded(where: Path):
    return datasets.load_dataset(str(where), cache_dir=str(where.with_name(f"cache-{where.name}")), split="train")


def test_a_folder_of_classes_opens_with_the_same_labels(tmp_path: Path) -> None:
    folder(tmp_path / "in")
    copied(tmp_path / "in", tmp_path / "out")
    before, after = loaded(tmp_path / "in"), loaded(tmp_path / "out")
    assert after.features["label"].names == list(CLASSES)
    same_but_for_the_budget(before, after)


def csv_of(rows: list[dict]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]) + "\n"


def jsonl_of(rows: list[dict]) -> str:
    return "\n".join(json.dumps(row) for row in rows) + "\n"


@pytest.mark.parametrize("kind", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_metadata_names_the_images_as_the_copy_does(kind: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "in")
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
    (root / CLASSES[0] / "00.webp").write_bytes(image_bytes(77, format="webp"))  # so that 00.jpg keeps its full name
    names.append(f"{CLASSES[0]}/00.webp")
    rows = [{"file_name": name, "caption": f"a, b and\n{name}", "weight": i / 4} for i, name in enumerate(names)]
    if kind.endswith(".parquet"):
        datasets.Dataset.from_list(rows).to_parquet(str(root / kind))
    else:
        (root / kind).write_text(csv_of(rows) if kind.endswith(".csv") else jsonl_of(rows))
    copied(root, tmp_path / "out", format="folder")
    before, after = loaded(root), loaded(tmp_path / "out")
    assert after.column_names == ["image", "caption", "weight"]
    assert len(after) == 13
    same_but_for_the_budget(before, after)
    assert {Path(row["image"]["path"]).name for row in after.cast_column("image", datasets.Image(decode=False))} >= {
        "00.jpg.png",
        "00.webp.png",
    }


def test_metadata_of_a_sub_folder_and_of_lists_of_images(tmp_path: Path) -> None:
    root = tmp_path / "in"
    (root / "train/pairs").mkdir(parents=True)
    for number in range(4):
        (root / f"train/pairs/{number}.jpg").write_bytes(image_bytes(number, format="jpeg"))
    rows = [{"file_names": ["pairs/0.jpg", "pairs/1.jpg"], "same": 1}, {"file_names": ["pairs/2.jpg", "./pairs/3.jpg"], "same": 0}]
    (root / "train/metadata.jsonl").write_text(jsonl_of(rows))
    copied(root, tmp_path / "out")
    after = loaded(tmp_path / "out")
    assert [[image.format for image in row["images"]] for row in after] == [["PNG", "PNG"]] * 2
    assert after["same"][:] == [1, 0]


LEFT = {
    "metadata.csv": b"file_name,text\na.jpg,one\nb.jpg,two\nc.gone,three\n",
    "metadata.jsonl": b'{"file_name": "a.jpg", "n": 1}\n{"file_name": "b.jpg", "n": 2}\n{"file_names": ["a.jpg", "b.jpg"]}\n{"n": null}\n',
}
KEPT = {
    "metadata.csv": b"file_name,text\na.png,one\nc.gone,three\n",
    "metadata.jsonl": b'{"file_name": "a.png", "n": 1}\n{"n": null}\n',
}


@pytest.mark.parametrize("name", [*LEFT, "metadata.parquet"])
def test_rows_of_images_that_are_left_out_go_with_them(name: str, tmp_path: Path) -> None:
    for image in "ab":
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{image}.jpg").write_bytes(image_bytes(ord(image), format="jpeg"))
    rows = [{"file_name": "a.jpg", "text": "one"}, {"file_name": "b.jpg", "text": "two"}, {"file_name": None, "text": "none"}]
    if name in LEFT:
        (tmp_path / "in" / name).write_bytes(LEFT[name])
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / name)
    copied(tmp_path / "in", tmp_path / "out", format="folder")
    source = open_source(str(tmp_path / "in"), format="folder")
    ((shard, written),) = source.leave_out({"b.jpg"}, to=str(tmp_path / "out"), extension=".png")
    found = (tmp_path / "out" / name).read_bytes()
    assert (shard, written) == (source.shards()[0], Written.of("", name=name, data=found))
    if name in LEFT:
        assert found == KEPT[name]
    else:
        assert pq.read_table(tmp_path / "out" / name).to_pylist() == [rows[0] | {"file_name": "a.png"}, rows[2]]


OTHERS = {
    "metadata.csv": b"name,caption\na.jpg,x\n",
    "other.jsonl": b'{"file_name": "a.jpg"}\n',
    "deep/metadata.jsonl": b'{"file_name": "a.jpg"}\n\n',
    "bad/metadata.csv": b"\xff\xfe file_name",
    "broken/metadata.jsonl": b'{"file_name": \n',
    "empty/metadata.csv": b"",
    "none/metadata.parquet": b"PAR1",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_names_no_image_of_the_collection_is_copied_as_it_is(name: str, tmp_path: Path) -> None:
    """`deep/metadata.jsonl` means `deep/a.jpg`, which is not there."""
    (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "in" / name).write_bytes(OTHERS[name])
    (tmp_path / "in/a.jpg").write_bytes(image_bytes(0, format="jpeg"))
    copied(tmp_path / "in", tmp_path / "out", format="folder")
    assert (tmp_path / "out" / name).read_bytes() == OTHERS[name]


def stream(table: pa.Table) -> bytes:
    with pa.ipc.new_stream(out := io.BytesIO(), table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def refused(data: bytes, tmp_path: Path) -> str:
    """What is said of a file when it is listed; a copy of it must fail too, and leave nothing."""
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "in/x.arrow").write_bytes(data)
    source = open_source(str(tmp_path / "in"))
    with pytest.raises(ValueError, match=r"x\.arrow") as caught:
        source.rows(source.shards()[0])
    if "compressed" not in str(caught.value):
        with pytest.raises(ValueError, match=r"x\.arrow"):
            list(source.rewrite(source.shards()[0], to=str(tmp_path / "out"), extension=".png", change=protect))
        assert not list((tmp_path / "out").rglob("*.*"))
    return str(caught.value)


def test_damaged_and_foreign_arrow_files_are_named(tmp_path: Path) -> None:
    table = pa.table({"image": [image_bytes(i) for i in range(5)]})
    whole = stream(table)
    with pa.ipc.new_file(out := io.BytesIO(), table.schema) as writer:
        writer.write_table(table)
    assert "is an Arrow file, not the stream that save_to_disk writes" in refused(out.getvalue(), tmp_path)
    squeezed = io.BytesIO()
    with pa.ipc.new_stream(squeezed, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    assert "compressed, which save_to_disk never writes" in refused(squeezed.getvalue(), tmp_path)
    for data in (b"no", b"hello" * 500, whole[: len(whole) // 2]):
        assert "is not an Arrow stream, or is damaged" in refused(data, tmp_path)


def test_offsets_that_point_out_of_their_buffer_are_refused(tmp_path: Path) -> None:
    """They would read what lies elsewhere in memory, or end the process."""
    table = pa.table({"image": [b"\x89PNG" + bytes(40)] * 3})
    edges = np.array([0, 44, 88, 132], np.int32).tobytes()
    whole = stream(table)
    assert whole.count(edges) == 1
    for wrong in ([0, 44, 88, 2**30], [0, 88, 44, 132], [-(2**20), 44, 88, 132]):
        assert "damaged" in refused(whole.replace(edges, np.array(wrong, np.int32).tobytes()), tmp_path)
