"""What only one format can do wrong: links, odd members, row groups, patterns."""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_makers import fill, identity, make_parquet, make_webdataset, picture, tar
from webdataset.compat import WebDataset

from ray_ue.sources import Item, Source, Written, batches, open_source, sweep
from ray_ue.sources.columns import Column
from ray_ue.sources.storage import PART

SAMPLE = Path(__file__).parents[3] / "shared/data/cifar10"


def rewrite_all(source: Source, *, to: Path, change=identity) -> list[Written]:
    return [w for shard in source.shards() for w in source.rewrite(shard, to=str(to), extension=".png", change=change)]


def rows(source: Source) -> pa.Table:
    return pa.concat_tables(source.rows(shard) for shard in source.shards())


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_folder_labels_names_and_files_without_an_ending(tmp_path: Path) -> None:
    pictures = {"b/1.jpg": picture(1), "b/1.png": picture(2), "c/d/photo": picture(3), "root.bmp": picture(4)}
    root = fill(tmp_path / "in", {**pictures, "a/notes.txt": b"x", "c/x.heic": b"no decoder", "b/v1.2": b"text"})
    source = open_source(str(root))
    found = rows(source).to_pylist()
    assert [(row["key"], row["label"]) for row in found] == [
        ("b/1.jpg", 0),
        ("b/1.png", 0),
        ("c/d/photo", 1),
        ("c/x.heic", 1),
        ("root.bmp", None),
    ]
    assert source.class_names() == ["b", "c"]
    assert [row["size"] for row in found[:2]] == [len(picture(1)), len(picture(2))]
    rewrite_all(source, to=tmp_path / "out")
    assert names(tmp_path / "out") == ["a/notes.txt", "b/1.jpg.png", "b/1.png.png", "c/d/photo.png", "c/x.png", "root.png"]


def test_names_are_global_when_a_folder_spans_shards(tmp_path: Path) -> None:
    root = fill(tmp_path / "in", {"x.jpg": b"1", **{f"x{i:04d}.jpg": b"2" for i in range(600)}, "x.webp": b"3"})
    source = open_source(str(root))
    assert [len(shard.files) for shard in source.shards()] == [256, 256, 90]
    written = rewrite_all(source, to=tmp_path / "out")
    assert {w.key: w.name for w in written if len(w.key) < 7} == {"x.jpg": "x.jpg.png", "x.webp": "x.webp.png"}


def test_folder_links(tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere", {"far.jpg": picture(1), "more/x.jpg": picture(2)})
    root = fill(tmp_path / "in", {"a/near.jpg": picture(3)})
    (root / "a/link.jpg").symlink_to(elsewhere / "far.jpg")
    (root / "a/broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (root / "a/again").symlink_to(root / "a")
    (root / "b").symlink_to(elsewhere / "more")
    os.mkfifo(root / "pipe.jpg")
    source = open_source(str(root))
    assert rows(source)["key"].to_pylist() == ["a/broken.jpg", "a/link.jpg", "a/near.jpg", "b/x.jpg"]
    assert next(source.read(source.shards()[0], rows(source))) == b""

    def nonempty(items: Iterator[Item]) -> Iterator[bytes | None]:
        return (item.data or None for item in items)

    rewrite_all(source, to=tmp_path / "out", change=nonempty)
    assert names(tmp_path / "out") == ["a/link.png", "a/near.png", "b/x.png"]
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    root = fill(tmp_path / "in", {"good.jpg": b"1"})
    (root / os.fsdecode(b"b\xffad.jpg")).write_bytes(b"2")
    source = open_source(str(root))
    assert rows(source)["key"].to_pylist() == ["b\\udcffad.jpg", "good.jpg"]
    assert list(source.read(source.shards()[0], rows(source))) == [b"2", b"1"]
    rewrite_all(source, to=tmp_path / "out")
    assert names(tmp_path / "out") == ["b\xffad.png", "good.png"]
    assert source.digest()


def test_sweep_removes_what_killed_writers_left(tmp_path: Path) -> None:
    fill(tmp_path, {f"a/{PART}1": b"x", "a/b.png": picture(0)})
    assert rows(open_source(str(tmp_path)))["key"].to_pylist() == ["a/b.png"]
    assert sweep(str(tmp_path)) == 1
    assert names(tmp_path) == ["a/b.png"]


def odd_tar(path: Path) -> Path:
    path.parent.mkdir()
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as out:

        def add(name: str, data: bytes = b"", **fields: object) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_600_000_000
            for field, value in fields.items():
                setattr(info, field, value)
            out.addfile(info, io.BytesIO(data))

        add("folder", type=tarfile.DIRTYPE, mode=0o750)
        add("/etc/abs.jpg", picture(1))
        add("../../up.jpg", picture(2))
        add("a.jpg", picture(3))
        add("a.jpg", picture(4))
        add("a.txt", b"words", mode=0o600, uname="me")
        add("link.jpg", type=tarfile.SYMTYPE, linkname="a.jpg")
        add("hard.jpg", type=tarfile.LNKTYPE, linkname="a.jpg")
        add("words.md", type=tarfile.SYMTYPE, linkname="a.txt")
        add("passwd.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add("out.txt", type=tarfile.SYMTYPE, linkname="../../secret")
        add("loop.jpg", type=tarfile.SYMTYPE, linkname="loop.jpg")
        add("null", type=tarfile.CHRTYPE)
        add("folder/" + "long" * 60 + ".jpg", picture(5))
        add("photo", picture(6))
        add("notes", b"text")
    return path


def test_tar_odd_members(tmp_path: Path) -> None:
    source = open_source(str(odd_tar(tmp_path / "in/x.tar")))
    found = rows(source)
    long = "folder/" + "long" * 60
    lost = ["passwd.jpg", "out.txt", "loop.jpg", "null"]
    keys = ["etc/abs.jpg", "up.jpg", "a.jpg", "a.jpg#2", "link.jpg", "hard.jpg", *lost, f"{long}.jpg", "photo"]
    assert found["key"].to_pylist() == [f"x.tar/{key}" for key in keys]
    data = list(source.read(source.shards()[0], found))
    wanted = [picture(1), picture(2), picture(3), picture(4), picture(4), picture(4), b"", b"", b"", b"", picture(5), picture(6)]
    assert data == wanted

    def nonempty(items: Iterator[Item]) -> Iterator[bytes | None]:
        return (item.data or None for item in items)

    rewrite_all(source, to=tmp_path / "out", change=nonempty)
    with tarfile.open(tmp_path / "out/x.tar") as copy:
        members = copy.getmembers()
        assert [m.name for m in members] == [
            *("folder", "etc/abs.png", "up.png", "a.jpg.png", "a.jpg-2.png", "a.txt", "link.png", "hard.png", "words.md"),
            *(f"{long}.png", "photo.png", "notes"),
        ]
        assert all(m.isreg() or m.isdir() for m in members)
        assert {m.mtime for m in members} == {1_600_000_000}
        by_name = {m.name: m for m in members}
        assert (by_name["a.txt"].mode, by_name["a.txt"].uname, by_name["folder"].mode) == (0o600, "me", 0o750)
        words = copy.extractfile("words.md")
        assert words is not None
        assert words.read() == b"words"


def test_what_systems_put_into_a_tar_is_no_picture_and_goes_into_no_copy(tmp_path: Path) -> None:
    """A Macintosh's resource forks and Windows' previews may hold small copies of the clean pictures."""
    hidden = {"._0001.jpg": picture(1), "__MACOSX/._0001.jpg": b"\0\5\x16\7", "Thumbs.db": b"\xd0\xcf\x11\xe0", ".git/config": b"[core]"}
    members = [("./0001.jpg", picture(0)), ("0001.cls", b"3"), *hidden.items()]
    source = open_source(str(tar(tmp_path / "in/x.tar", members)))
    found = rows(source)
    assert (found["key"].to_pylist(), found["label"].to_pylist()) == (["x.tar/0001.jpg"], [3])
    rewrite_all(source, to=tmp_path / "out")
    with tarfile.open(tmp_path / "out/x.tar") as copy:
        assert sorted(copy.getnames()) == ["0001.cls", "0001.png"]


def test_tar_labels_come_from_the_sample(tmp_path: Path) -> None:
    members = [("a/1.jpg", b"x"), ("a/1.cls", b" 7\n"), ("a/2.cls", b"cat"), ("a/2.seg.png", b"y"), ("b/1.jpg", b"z"), ("b/1.CLS", b"-1")]
    source = open_source(str(tar(tmp_path / "x.tar", members)))
    assert rows(source)["label"].to_pylist() == [7, None, -1]


def test_webdataset_reads_the_copy(tmp_path: Path) -> None:
    source = open_source(str(make_webdataset(tmp_path / "in")))
    rewrite_all(source, to=tmp_path / "out")
    urls = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    samples = list(WebDataset(urls, shardshuffle=False, empty_check=False))
    assert [sample["__key__"].rpartition("/")[2] for sample in samples] == [f"{i:06d}" for i in range(20)]
    assert all({"png", "cls", "json"} <= set(sample) for sample in samples)


PATTERNS = {"{00000..00001}.tar": 2, "*.tar": 2, "0000?.tar": 2, "{00001,00000}.tar": 2, "00001.tar": 1, "{00000..00000}.ta[r]": 1}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("place", ["local", "s3"])
def test_patterns(pattern: str, place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = str(make_webdataset(tmp_path / "in"))
    if place == "s3":
        import s3fs

        root = f"{request.getfixturevalue('store')}/{tmp_path.name}"
        s3fs.S3FileSystem().put(str(tmp_path / "in") + "/", root.removeprefix("s3://") + "/", recursive=True)
    source = open_source(f"{root}/{pattern}")
    shards = source.shards()
    assert [(shard.number, bool(shard.files)) for shard in shards] == [(i, False) for i in range(PATTERNS[pattern])]
    assert len(rows(source)) == 10 * PATTERNS[pattern]


def test_file_uris_and_names_that_look_like_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "in/we[i]rd{1}.tar", [("a.jpg", picture(0))])
    monkeypatch.chdir(tmp_path)
    for uri in (str(path), f"file://{path}", "in/we[i]rd{1}.tar", "in", "./in/"):
        assert rows(open_source(uri))["key"].to_pylist() == ["we[i]rd{1}.tar/a.jpg"]


def test_parquet_keeps_everything_but_the_images(tmp_path: Path) -> None:
    source = open_source(str(make_parquet(tmp_path / "in")))
    assert source.class_names() == ["cat", "dog"]

    def every_third_out(items: Iterator[Item]) -> Iterator[bytes | None]:
        return (None if i % 3 == 0 else picture(i) for i, _ in enumerate(items))

    written = rewrite_all(source, to=tmp_path / "out", change=every_third_out)
    old, new = (pq.ParquetFile(tmp_path / where / "part-01.parquet") for where in ("in", "out"))
    assert new.schema_arrow.equals(old.schema_arrow, check_metadata=True)
    assert json.loads(new.schema_arrow.metadata[b"huggingface"])["info"]
    assert [new.metadata.row_group(i).num_rows for i in range(new.num_row_groups)] == [46, 47, 7]
    codecs = {new.metadata.row_group(0).column(i).path_in_schema: new.metadata.row_group(0).column(i).compression for i in range(4)}
    assert codecs == {"image.bytes": "UNCOMPRESSED", "image.path": "ZSTD", "label": "ZSTD", "class_name": "ZSTD"}
    kept = [i for i in range(150) if i % 3]
    before, after = old.read().take(kept).to_pylist(), new.read().to_pylist()
    assert [row["image"]["path"] for row in after] == [f"{i}.png" for i in kept]
    assert [(row["label"], row["class_name"]) for row in after] == [(row["label"], row["class_name"]) for row in before]
    mine = [w for w in written if w.name.startswith("part-01")]
    assert [w.name for w in mine] == [f"part-01.parquet/{i:08d}" for i in range(100)]
    assert [w.key for w in mine] == [f"part-01.parquet/{i:08d}" for i in kept]


PLAIN = {"image": [b"1", None, b"", b"4"], "label": pa.array([1, None, 3, 4], pa.int16())}
STRUCT = [
    {"bytes": b"1", "path": None, "more": 1},
    None,
    {"bytes": None, "path": "a.jpg", "more": 3},
    {"bytes": b"4", "path": "x/y", "more": 4},
]


@pytest.mark.parametrize("cells", [PLAIN["image"], STRUCT, pa.array(PLAIN["image"], pa.large_binary())], ids=["binary", "struct", "large"])
def test_parquet_cells_may_be_empty_and_binary_of_any_kind(cells: list, tmp_path: Path) -> None:
    table = pa.table({"id": ["w", "x", "y", "z"], "image": cells, "label": PLAIN["label"]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=3)
    source = open_source(str(tmp_path / "x.parquet"))
    assert rows(source)["label"].to_pylist() == [1, None, 3, 4]
    assert list(source.read(source.shards()[0], rows(source))) == [b"1", b"", b"", b"4"]
    rewrite_all(source, to=tmp_path / "out", change=lambda items: (item.data + b"!" if item.data else None for item in items))
    copy = pq.read_table(tmp_path / "out/x.parquet")
    assert copy.schema == table.schema
    assert copy["id"].to_pylist() == ["w", "z"]
    if cells is STRUCT:
        wanted = [{"bytes": b"1!", "path": None, "more": 1}, {"bytes": b"4!", "path": "x/y.png", "more": 4}]
        assert copy["image"].to_pylist() == wanted
    else:
        assert copy["image"].to_pylist() == [b"1!", b"4!"]


def test_parquet_of_no_rows_and_of_none_left(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [b"1"]}), tmp_path / "b.parquet")
    source = open_source(str(tmp_path))
    rewrite_all(source, to=tmp_path.with_name("out"), change=lambda items: (None for _ in items))
    assert [len(pq.read_table(tmp_path.with_name("out") / name)) for name in ("a.parquet", "b.parquet")] == [0, 0]


def test_a_loose_picture_beside_shards_is_a_row(tmp_path: Path) -> None:
    """Otherwise it would be copied unprotected."""
    root = make_parquet(tmp_path / "in")
    (root / "cover.jpg").write_bytes(picture(0))
    source = open_source(str(root), format="parquet")
    assert rows(source)["key"].to_pylist()[-1] == "cover.jpg"
    rewrite_all(source, to=tmp_path / "out")
    assert names(tmp_path / "out") == ["cover.png", "dataset_info.json", "part-00.parquet", "part-01.parquet"]


def test_parquet_chooses_the_column_of_pictures(tmp_path: Path) -> None:
    pq.write_table(pa.table({"hash": [b"1"], "content": [picture(0)], "image": [b"no"]}), tmp_path / "x.parquet")
    source = open_source(str(tmp_path))
    assert list(source.read(source.shards()[0], rows(source))) == [picture(0)]


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of CIFAR-10 is not on this machine")
def test_a_real_shard_survives(tmp_path: Path) -> None:
    source = open_source(str(SAMPLE / "test-00.parquet"))
    written = rewrite_all(source, to=tmp_path / "out")
    assert len(written) == len(rows(source)) == 10_000
    before, after = pq.read_table(SAMPLE / "test-00.parquet"), pq.read_table(tmp_path / "out/test-00.parquet")
    assert before.schema.equals(after.schema, check_metadata=True)
    assert before.drop_columns("image").equals(after.drop_columns("image"))


@pytest.mark.parametrize("most", [1, 1500, 10**6])
def test_large_pictures_of_a_table_are_rewritten_a_few_at_a_time(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", most)
    cells = [b"x" * size for size in (1000, 400, 0, 900, 700, 20)] + [None]
    batch = pa.record_batch({"image": pa.array(cells, pa.binary()), "row": list(range(7))})
    parts = list(batches.portions(batch, Column(name="image", is_struct=False)))
    assert pa.Table.from_batches(parts).equals(pa.Table.from_batches([batch]))
    held = [sum(len(cell or b"") for cell in part["image"].to_pylist()) for part in parts]
    assert all(total <= most or sum(bool(cell) for cell in part["image"].to_pylist()) == 1 for total, part in zip(held, parts, strict=True))
    assert len(parts) == {1: 6, 1500: 3, 10**6: 1}[most]
    assert list(batches.portions(batch.slice(0, 0), Column(name="image", is_struct=False))) == []
