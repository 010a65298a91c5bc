"""What holds for every format, on a local disk, in memory and on an object store."""

import hashlib
import uuid
from collections.abc import Iterator

import cloudpickle
import fsspec
import pytest
from source_makers import MAKERS, MENDED, identity

from ray_ue.sources import FORMATS, ROW_SCHEMA, Item, Source, Written, open_source
from ray_ue.sources.image_files import kind_of_name

PLACES = ("local", "memory", "s3")


@pytest.fixture(scope="module", params=[(format, place) for format in FORMATS for place in PLACES], ids="-".join)
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    format, place = request.param
    made = MAKERS[format](tmp_path_factory.mktemp("made") / format)
    if place == "local":
        return str(made)
    root = f"memory://{uuid.uuid4().hex}" if place == "memory" else f"{request.getfixturevalue('store')}/{uuid.uuid4().hex}"
    fs, path = fsspec.core.url_to_fs(root)
    for file in made.rglob("*"):
        if file.is_file():
            fs.pipe_file(f"{path}/{file.relative_to(made)}", file.read_bytes())
    return root


def sibling(uri: str) -> str:
    return f"{uri}-copy-{uuid.uuid4().hex[:6]}"


def rewrite_all(source: Source, *, to: str, extension: str = ".png", change=identity) -> list[Written]:
    return [w for shard in source.shards() for w in source.rewrite(shard, to=to, extension=extension, change=change)]


def keys(source: Source) -> list[str]:
    return [key for shard in source.shards() for key in source.rows(shard)["key"].to_pylist()]


def contents(uri: str) -> dict[str, bytes]:
    fs, path = fsspec.core.url_to_fs(uri)
    return {name.removeprefix(path.rstrip("/") + "/"): fs.cat_file(name) for name in fs.find(path)} if fs.exists(path) else {}


def test_the_format_is_found(uri: str) -> None:
    source = open_source(uri)
    assert [source.format] == [f for f in FORMATS if f in uri] or not any(f in uri for f in FORMATS)
    assert open_source(uri, format=source.format) == source


def test_rows_are_unique_numbered_and_typed(uri: str) -> None:
    source = open_source(uri)
    shards = source.shards()
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert source.shards() == shards
    for shard in shards:
        assert source.rows(shard).schema == ROW_SCHEMA
    assert len(set(keys(source))) == len(keys(source)) > 0


def test_read_gives_any_run_of_rows(uri: str) -> None:
    source = open_source(uri)
    for shard in source.shards():
        rows = source.rows(shard)
        everything = list(source.read(shard, rows))
        assert len(everything) == len(rows)
        assert all(data[:2] in (b"\xff\xd8", b"RI") for data in everything)
        if len(rows) > 4:
            assert list(source.read(shard, rows.slice(2, len(rows) - 3))) == everything[2:-1]


def test_identity_keeps_keys_labels_bytes_and_everything_beside(uri: str) -> None:
    source, to = open_source(uri), sibling(uri)
    written = rewrite_all(source, to=to, extension=".jpg")
    copy = open_source(to)
    assert [w.key for w in written if w.key] == keys(source)
    assert copy.class_names() == source.class_names()
    assert len(copy.shards()) == len(source.shards())
    for old, new in zip(source.shards(), copy.shards(), strict=True):
        mine, theirs = source.rows(old), copy.rows(new)
        assert [k.replace(".webp", ".jpg") for k in mine["key"].to_pylist()] == theirs["key"].to_pylist()
        assert mine["label"] == theirs["label"]
        data = list(copy.read(new, theirs))
        assert data == list(source.read(old, mine))
        names = theirs["key"].to_pylist()
        found = {w.name: (w.sha256, w.size) for w in written}
        assert [found[name] for name in names] == [(hashlib.sha256(d).hexdigest(), len(d)) for d in data]
    before, after = contents(uri), contents(to)
    loose = {name for name in before if kind_of_name(name) != "image" and not name.endswith((".tar", ".parquet", ".arrow"))}
    assert loose
    same = {name for name in loose if not name.endswith(MENDED)}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert {w.name for w in written if not w.key} == loose


def test_writing_twice_gives_the_same(uri: str) -> None:
    source, to = open_source(uri), sibling(uri)
    rewrite_all(source, to=to)
    once = contents(to)
    rewrite_all(source, to=to)
    assert contents(to) == once


def test_rows_left_out_are_gone_and_the_rest_keeps_its_order(uri: str) -> None:
    source, to = open_source(uri), sibling(uri)

    def every_second(items: Iterator[Item]) -> Iterator[bytes | None]:
        return (None if i % 2 else item.data for i, item in enumerate(items))

    wanted = [key for shard in source.shards() for key in source.rows(shard)["key"].to_pylist()[::2]]
    written = rewrite_all(source, to=to, change=every_second)
    assert [w.key for w in written if w.key] == wanted
    assert [w.name for w in written if w.key] == keys(open_source(to))


def test_a_failing_change_leaves_no_part_of_a_file(uri: str) -> None:
    source, to = open_source(uri), sibling(uri)

    def failing(items: Iterator[Item]) -> Iterator[bytes]:
        for i, item in enumerate(items):
            if i == 3:
                raise RuntimeError("power cut")
            yield item.data

    shard = source.shards()[0]
    with pytest.raises(RuntimeError, match="power cut"):
        list(source.rewrite(shard, to=to, extension=".png", change=failing))
    left = contents(to)
    assert all(data in {*source.read(shard, source.rows(shard))} for data in left.values()) if shard.files else not left


def test_an_abandoned_rewrite_leaves_no_part_of_a_file(uri: str) -> None:
    source, to = open_source(uri), sibling(uri)
    shard = source.shards()[0]
    if not shard.files:
        written = source.rewrite(shard, to=to, extension=".png", change=identity)
        next(written)
        del written
        assert not contents(to)


def test_change_may_read_ahead_and_must_answer_everything(uri: str) -> None:
    source, to = open_source(uri), sibling(uri)

    def eager(items: Iterator[Item]) -> Iterator[bytes]:
        yield from [item.data for item in items]

    def lazy(items: Iterator[Item]) -> Iterator[bytes]:
        yield next(items).data

    assert len([w for w in rewrite_all(source, to=to, change=eager) if w.key]) == len(keys(source))
    with pytest.raises(AssertionError, match="change did not take all items"):
        rewrite_all(source, to=to, change=lazy)


def test_sources_travel_and_their_digest_moves_with_the_files(uri: str) -> None:
    source, to = open_source(uri), sibling(uri)
    there = cloudpickle.loads(cloudpickle.dumps(source))
    assert there == source
    assert there.digest() == source.digest() == open_source(uri).digest()
    rewrite_all(source, to=to, extension=".jpg")
    copy = open_source(to)
    before = copy.digest()
    fs, path = fsspec.core.url_to_fs(to)
    fs.pipe_file(f"{path}/extra.txt", b"x")
    assert copy.digest() == before, "a source is listed once"
    assert open_source(to).digest() != before


def test_a_copy_inside_its_source_is_refused(uri: str) -> None:
    source = open_source(uri)
    for to in (uri, f"{uri}/protected"):
        with pytest.raises(ValueError, match="lies in its own source"):
            source.rewrite(source.shards()[0], to=to, extension=".png", change=identity)
