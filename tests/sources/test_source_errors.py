"""What a user can get wrong is told in one line: what it got, and what would have worked."""

from pathlib import Path
from typing import get_args

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_makers import fill, identity, make_folder, make_parquet, make_webdataset, picture, tar

from ray_ue.sources import open_source
from ray_ue.sources.opening import FORMATS, Format


def case(root: Path, name: str) -> tuple[str, str]:
    """The URI and format of a mistake."""
    fill(root / "some", {"a.txt": b"x", "b.json": b"{}"})
    (root / "empty").mkdir()
    fill(root / "mixed", {"a.jpg": b"", "b.jpg": b"", "x.parquet": b"", "y.tar": b""})
    fill(root / "packed", {"a.tar.gz": b""})
    fill(root / "zipped", {"a.zip": b""})
    make_webdataset(root / "shards")
    uris = {
        "missing": "nowhere",
        "missing shard": "shards/{00000..00004}.tar",
        "no match": "shards/*.parquet",
        "braces": "shards/{0..1.tar",
    }
    uris |= {"not parquet": "shards", "not tar": "some", "unknown format": "some", "only text": "some"}
    formats = {"not parquet": "parquet", "not tar": "webdataset", "unknown format": "lmdb"}
    return str(root / uris.get(name, name)), formats.get(name, "auto")


MISTAKES = {
    "missing": ["there is no", "nowhere", "give an existing folder, .tar or .parquet file, or a pattern such as {00000..00511}.tar"],
    "empty": ["holds no files", "give a folder of images, .parquet, .arrow or .tar files"],
    "only text": ["holds no images, only 2 other files such as 'a.txt'", "name a folder with images"],
    "mixed": [
        "mixes 1 .parquet file and 1 .tar file and 2 image files",
        "say --format folder or parquet or arrow or webdataset",
        "left out of the copy",
    ],
    "packed": ["1 compressed tar file", "must be plain .tar files: decompress them first"],
    "zipped": ["1 archive file", "unpack them first"],
    "missing shard": ["3 of 5 files are missing", "00002.tar, 00003.tar, 00004.tar"],
    "no match": ["no file matches", "*.parquet"],
    "braces": ["cannot read the pattern", "{0..1.tar", "write for example {00000..00511}.tar"],
    "not parquet": ["holds no .parquet file, so it is no parquet source", "--format auto"],
    "not tar": ["holds no .tar file, so it is no webdataset source"],
    "unknown format": ["no source format is called 'lmdb'; there are arrow, auto, folder, parquet, webdataset"],
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str, tmp_path: Path) -> None:
    uri, format = case(tmp_path, name)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the phrases below are the match
        open_source(uri, format=format)
    for phrase in MISTAKES[name]:
        assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("uri", "phrase"), [("", "the source is empty"), ("nope://x/y", "use a local path, file://, s3://")])
def test_addresses_that_are_none(uri: str, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        open_source(uri)


def test_missing_bucket_and_missing_key(store: str) -> None:
    for uri in ("s3://no-such-bucket/x", f"{store}/no/such/key"):
        with pytest.raises(ValueError, match="there is no"):
            open_source(uri)


def test_a_folder_of_unknown_files_without_a_picture(tmp_path: Path) -> None:
    fill(tmp_path, {"blob": b"no picture", "a.txt": b""})
    with pytest.raises(ValueError, match=r"there are no images in .*, only 1 other files"):
        open_source(str(tmp_path)).shards()


TABLES = {
    "no image column": (pa.table({"label": [1], "text": ["a"]}), "has no image column; its columns are label, text"),
    "two pictures": (pa.table({"left": [picture(0)], "right": [picture(1)]}), "several columns that may hold the images: left, right"),
    "two blobs": (pa.table({"x": [b"1"], "y": [b"2"]}), "several columns that may hold the images: x, y; drop all but one"),
    "a list": (pa.table({"image": [picture(0)], "frames": [[picture(0)]]}), "binary data inside column frames"),
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_that_cannot_be_chosen_are_named(name: str, tmp_path: Path) -> None:
    table, phrase = TABLES[name]
    pq.write_table(table, tmp_path / "x.parquet")
    source = open_source(str(tmp_path))
    with pytest.raises(ValueError, match=phrase):
        source.rows(source.shards()[0])


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    whole = tar(tmp_path / "t/a.tar", [(f"{i}.jpg", picture(i)) for i in range(9)]).read_bytes()
    middle = bytearray(whole)
    middle[4 * 1024 : 4 * 1024 + 300] = b"\xff" * 300
    for data in (b"", b"hello" * 500, whole[:1700], bytes(middle)):
        (tmp_path / "t/a.tar").write_bytes(data)
        source = open_source(str(tmp_path / "t"))
        with pytest.raises(ValueError, match=r"a\.tar is (not a plain tar file, or is )?damaged"):
            source.rows(source.shards()[0])
    fill(tmp_path / "p", {"a.parquet": b"PAR1 no"})
    source = open_source(str(tmp_path / "p"))
    with pytest.raises(ValueError, match=r"a\.parquet is not a Parquet file, or is damaged"):
        source.rows(source.shards()[0])


def test_a_link_that_leaves_the_copy_is_refused(tmp_path: Path) -> None:
    source = open_source(str(make_folder(tmp_path / "in")))
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/cats").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="is a link that leaves the copy"):
        list(source.rewrite(source.shards()[0], to=str(tmp_path / "out"), extension=".png", change=identity))
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("make", [make_folder, make_parquet, make_webdataset])
def test_a_source_by_another_name_is_refused_as_its_copy(make, tmp_path: Path) -> None:
    source = open_source(str(make(tmp_path / "in")))
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    with pytest.raises(ValueError, match="lies in its own source"):
        source.rewrite(source.shards()[0], to=str(tmp_path / "alias"), extension=".png", change=identity)


@pytest.mark.parametrize("remote", [False, True])
def test_an_image_that_is_gone_since_it_was_listed_is_named(remote: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    make_folder(tmp_path / "a")
    uri = str(tmp_path / "a")
    if remote:
        fs = fsspec.filesystem("s3")
        uri = f"{request.getfixturevalue('store')}/gone"
        fs.put(f"{tmp_path}/a/", f"{uri}/", recursive=True)
    source = open_source(uri)
    shard = source.shards()[0]
    rows = source.rows(shard)
    name = next(file.path for file in shard.files if file.is_image and file.size)
    if remote:
        fs.rm(f"{uri}/{name}")
    else:
        (tmp_path / "a" / name).unlink()
    with pytest.raises(ValueError, match=r"is gone; run the same line again"):
        list(source.read(shard, rows))


def test_the_flag_offers_every_format() -> None:
    assert get_args(Format) == ("auto", *FORMATS)


def test_a_table_about_loose_images_is_no_second_format(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    pq.write_table(pa.table({"file_name": ["a.png"], "text": ["a cat"]}), tmp_path / "metadata.parquet")
    assert open_source(str(tmp_path)).format == "folder"
