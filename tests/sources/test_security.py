"""Hostile input is refused, nothing is ever unpickled, nothing leaves the output, and no secret is written."""

import ast
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import image_bytes
from hostile import ARRAYS, BOMBS, PARQUET, TARS, Bomb, chunk, member, png, table, tar_of, zeros
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_ue.config.recipe import AUTOMATIC, Recipe
from ray_ue.images.codec import Limits, Rejected, decode, decode_square
from ray_ue.models.pretrained.tower import read
from ray_ue.perturbations.interchange import open_perturbations
from ray_ue.pipelines import protect
from ray_ue.pipelines.rehearsal import look
from ray_ue.sources import Item, Source, open_source
from ray_ue.sources.columns import PICKLED
from ray_ue.sources.naming import stems
from ray_ue.sources.walk import LINKED
from ray_ue.stages.protect.summary import beside_lines
from ray_ue.storage.addresses import refuse_secrets, without_credentials
from ray_ue.storage.artifacts import Folder, Manifest, finish

PICTURE = image_bytes(0)
ROOT = Path(__file__).parents[2] / "ray_ue"


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[Bomb]:
    """A payload, and the proof that nobody ran it."""
    made = Bomb(tmp_path / "marker")
    yield made
    assert not made.marker.exists(), "a pickle was loaded"


@pytest.fixture(scope="session")
def registered() -> type:
    """Ray's type of pickled objects: it is registered for the whole process when Ray's data library is imported, as every worker does."""
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

    return ArrowPythonObjectType


@pytest.fixture(params=["with Ray's types", "without Ray's types"])
def types(request: pytest.FixtureRequest, registered: type) -> Iterator[None]:
    known = request.param == "with Ray's types"
    if not known:
        pa.unregister_extension_type(PICKLED[0])
    yield
    if not known:
        pa.register_extension_type(registered())


def identity(items: Iterator[Item]) -> Iterator[bytes | None]:
    return (item.data or None for item in items)


def rewrite(source: Source, out: Path) -> None:
    for shard in source.shards():
        list(source.rewrite(shard, to=str(out), extension=".png", change=identity))


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


TABLES = {"x.parquet": pq.write_table, "x.arrow": write_stream}


@pytest.mark.usefixtures("types")
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("where", PARQUET)
def test_tables_with_pickled_objects_are_refused_whatever_is_asked_of_them(where: str, name: str, bomb: Bomb, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    TABLES[name](PARQUET[where](PICTURE, bomb), tmp_path / "in" / name)
    source = open_source(str(tmp_path / "in"))
    (shard,) = source.shards()
    row = pa.table({"key": ["x"], "label": pa.nulls(1, pa.int64()), "offset": pa.array([0]), "size": pa.array([1])})
    asked = [
        lambda: source.rows(shard),
        lambda: list(source.rewrite(shard, to=str(tmp_path / "out"), extension=".png", change=identity)),
    ]
    if name == "x.parquet":  # of an Arrow file, only bytes at places are read
        asked.append(lambda: list(source.read(shard, row)))
    for question in asked:
        with pytest.raises(ValueError, match=rf"{name} holds pickled Python objects in column (extra|label|image)"):
            question()
    assert source.class_names() == []


def test_harmless_types_of_others_are_copied(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    value = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(range(16))], pa.binary(16)))
    pq.write_table(table(PICTURE, pa.field("id", value.type), value), tmp_path / "in/x.parquet")
    rewrite(open_source(str(tmp_path / "in")), tmp_path / "out")
    assert pq.read_table(tmp_path / "out/x.parquet")["id"].combine_chunks().storage.to_pylist() == [bytes(range(16))]


def test_a_column_or_an_array_that_inflates_from_next_to_nothing_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_ue.storage.inflation.INFLATED", 2**20)  # a GiB would take a while to write
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"image": [PICTURE], "label": [0], "note": [bytes(2**22)]}), tmp_path / "in/x.parquet", compression="zstd")
    source = open_source(str(tmp_path / "in"))
    with pytest.raises(ValueError, match=r"x\.parquet: the column note inflates from [\d,]+ bytes to 0\.0 GiB"):
        source.rows(source.shards()[0])
    np.savez_compressed(tmp_path / "d.npz", d=np.zeros((400, 3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match=r"d\.npz: d inflates from [\d,]+ bytes to 0\.0 GiB, more than images or their metadata do"):
        open_perturbations(tmp_path / "d.npz", key="")


METADATA = {
    b"pandas": lambda bomb: bomb.pickled(),
    b"huggingface": lambda bomb: bomb.pickled(),
    b"huggingface ": lambda bomb: b"[" * 200_000,
    b"huggingface  ": lambda bomb: json.dumps({"info": {"features": {"label": {"names": 7}}}}).encode(),
    b"ARROW:schema:more": lambda bomb: bomb.pickled(),
}


@pytest.mark.parametrize("key", METADATA)
def test_metadata_of_a_file_is_carried_and_never_loaded(key: bytes, bomb: Bomb, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    told = {key.strip(): METADATA[key](bomb)}
    pq.write_table(pa.table({"image": [PICTURE], "label": [0]}).replace_schema_metadata(told), tmp_path / "in/x.parquet")
    source = open_source(str(tmp_path / "in"))
    assert source.class_names() == []
    assert source.rows(source.shards()[0])["label"].to_pylist() == [0]
    rewrite(source, tmp_path / "out")
    assert pq.read_schema(tmp_path / "out/x.parquet").metadata == told


@pytest.mark.parametrize("name", ARRAYS)
def test_perturbations_and_weights_with_pickles_or_lies_are_refused_by_name(name: str, bomb: Bomb, tmp_path: Path) -> None:
    (path := tmp_path / name).write_bytes(ARRAYS[name](bomb))
    with pytest.raises(ValueError, match=r"cannot be read as plain arrays: .*; pickled objects are never loaded$") as caught:
        open_perturbations(path, key="")
    said = [str(caught.value)]
    if path.suffix in (".pt", ".pth", ".safetensors"):
        with pytest.raises(ValueError, match=r"is not a plain dict of tensors .*save its state_dict as safetensors$") as caught:
            read(path)
        said.append(str(caught.value))
    for text in said:
        assert name in text
        assert "\n" not in text
        assert "allow_pickle" not in text, "no error may advise to load a pickle"
        assert "weights_only" not in text


def test_a_picture_of_perturbations_that_is_a_program_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match=r"0\.png is no picture that can be read"):
        open_perturbations(tmp_path, key="")
    (tmp_path / "0.png").write_bytes(png(2**31 - 1, 2**31 - 1, data=b""))
    with pytest.raises(ValueError, match=r"0\.png is no picture that can be read"):
        open_perturbations(tmp_path, key="")


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(module, dotted name, call) for every call in the package."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(ROOT)), ast.unparse(node.func), node


def test_the_package_loads_pickles_of_its_own_driver_alone() -> None:
    seen = list(calls())
    assert {where.split("/")[0] for where, name, _ in seen if name in ("pickle.load", "pickle.loads")} == {"engine", "stages"}
    for where, name, call in seen:
        asked = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name == "torch.load":
            assert asked.get("weights_only") == "True", where
        if name == "np.load":
            assert asked.get("allow_pickle", "False") == "False", where
        assert name not in ("eval", "exec", "cloudpickle.loads", "joblib.load", "os.system", "yaml.load"), where


HOSTILE_MEMBERS = {
    "up": [(member("../../up.jpg"), PICTURE)],
    "absolute": [(member("/tmp/absolute.jpg"), PICTURE)],
    "up and other": [(member("../../notes.txt"), b"notes"), (member("a.jpg"), PICTURE)],
    "link out": [(member("a.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd"), b""), (member("b.jpg"), PICTURE)],
    "link up": [(member("x/a.jpg", kind=tarfile.SYMTYPE, link="../../../etc/passwd"), b""), (member("b.jpg"), PICTURE)],
    "hard link out": [(member("a.jpg", kind=tarfile.LNKTYPE, link="/etc/passwd"), b""), (member("b.jpg"), PICTURE)],
    "through a link": [(member("d", kind=tarfile.SYMTYPE, link="/tmp"), b""), (member("d/through.jpg"), PICTURE)],
    "device": [(member("a.jpg", kind=tarfile.CHRTYPE), b""), (member("b.jpg"), PICTURE)],
    "control characters": [(member("a\n\x1b[2J\r.jpg"), PICTURE)],
    "long name": [(member("n" * 3000 + ".jpg"), PICTURE), (member("n" * 3001 + ".jpg"), PICTURE)],
}


@pytest.mark.parametrize("case", HOSTILE_MEMBERS)
def test_no_member_of_a_tar_leaves_the_copy_or_links_out_of_it(case: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.tar").write_bytes(tar_of(HOSTILE_MEMBERS[case]))
    source = open_source(str(tmp_path / "in"))
    keys = source.rows(source.shards()[0])["key"].to_pylist()
    assert len(set(keys)) == len(keys)
    assert not any(part in ("", ".", "..") for key in keys for part in key.split("/"))
    rewrite(source, tmp_path / "out")
    assert below(tmp_path) == ["in/x.tar", "out/x.tar"]
    (tmp_path / "unpacked/deep/here").mkdir(parents=True)
    with tarfile.open(tmp_path / "out/x.tar") as copy:
        assert all(found.isreg() for found in copy.getmembers())
        copy.extractall(tmp_path / "unpacked/deep/here", filter="fully_trusted")
        found = [data for name, data in HOSTILE_MEMBERS[case] if name.isreg()]
        assert len(below(tmp_path / "unpacked")) == len(below(tmp_path / "unpacked/deep/here")) == len(found)


def test_a_pickle_in_a_sample_is_carried_and_never_loaded(bomb: Bomb, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.tar").write_bytes(tar_of([(member("0.jpg"), PICTURE), (member("0.pkl"), bomb.pickled()), (member("0.cls"), b"3")]))
    source = open_source(str(tmp_path / "in"))
    assert source.rows(source.shards()[0])["label"].to_pylist() == [3]
    rewrite(source, tmp_path / "out")
    with tarfile.open(tmp_path / "out/x.tar") as copy:
        carried = copy.extractfile("0.pkl")
        assert carried is not None
        assert carried.read() == bomb.pickled()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", TARS)
def test_a_tar_that_would_be_read_forever_is_refused(case: str, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(TARS[case]())
    source = open_source(str(tmp_path))
    with pytest.raises(ValueError, match=r"x\.tar is not a plain tar file, or is damaged"):
        source.rows(source.shards()[0])


WHOLE = tar_of(
    [(member("a/0.jpg"), PICTURE), (member("l.jpg", kind=tarfile.SYMTYPE, link="a/0.jpg"), b""), (member("é" * 90 + ".txt"), b"x")]
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_tar_is_copied_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for place, value in changes:
        data[place] = value
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").mkdir()
        (Path(folder) / "in/x.tar").write_bytes(data)
        source = open_source(f"{folder}/in")
        try:
            rows = source.rows(source.shards()[0])
        except ValueError as error:
            assert str(error).startswith("x.tar is")  # noqa: PT017 - either is right
            return
        rewrite(source, Path(folder) / "out")
        with tarfile.open(Path(folder) / "out/x.tar") as copy:
            assert len(copy.getmembers()) <= 3
        assert len(rows) <= 3


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300"])
def test_a_time_that_is_none_does_not_stop_the_copy(value: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    info = member("a.jpg")
    info.pax_headers = {"mtime": value}
    (tmp_path / "in/x.tar").write_bytes(tar_of([(info, PICTURE)]))
    rewrite(open_source(str(tmp_path / "in")), tmp_path / "out")
    with tarfile.open(tmp_path / "out/x.tar") as copy:
        assert copy.getnames() == ["a.png"]


@pytest.mark.timeout(60)
def test_equal_names_are_numbered_in_linear_time() -> None:
    found = stems(["a.jpg"] * 10_000, others=[])
    assert len(set(found)) == 10_000
    assert found[:3] == ["a.jpg", "a.jpg-2", "a.jpg-3"]


@pytest.mark.parametrize("extension", [".png", ".webp"])
def test_names_with_control_characters_or_of_any_length_stay_in_the_copy(extension: str, tmp_path: Path) -> None:
    names = [
        "a\nb.jpg",
        "\x1b[2Jc.jpg",
        "d\r.jpg",
        "-rf.jpg",
        "n" * 251 + ".jpg",
        "é" * 125 + ".jpg",
        "m" * 251 + ".gif",
        "m" * 250 + ".gif",
    ]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_bytes(PICTURE)
    source = open_source(str(tmp_path / "in"))
    (shard,) = source.shards()
    written = list(source.rewrite(shard, to=str(tmp_path / "out"), extension=extension, change=identity))
    assert sorted(done.name for done in written) == below(tmp_path / "out")
    assert len(below(tmp_path / "out")) == len(names)
    assert {"a\nb" + extension, "-rf" + extension} <= set(below(tmp_path / "out"))


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder with links to things that lie elsewhere, as one from a stranger may have them."""
    home = tmp_path / "home"
    (home / "deep").mkdir(parents=True)
    for name, data in {"id_rsa": b"secret key", "notes.txt": b"secret notes", "backup.tar": b"secret tar", "photo": PICTURE}.items():
        (home / name).write_bytes(data)
    (home / "deep/diary.md").write_bytes(b"secret diary")
    (home / "deep/cat.png").write_bytes(PICTURE)
    root = tmp_path / "in"
    root.mkdir()
    (root / "own.png").write_bytes(PICTURE)
    (root / "own.txt").write_bytes(b"own")
    (root / "alias.txt").symlink_to("own.txt")
    for name in ("id_rsa", "notes.txt", "backup.tar", "photo", "deep"):
        (root / name).symlink_to(home / name)
    (root / "disguised.png").symlink_to(home / "notes.txt")
    return root


def test_a_link_out_of_a_folder_brings_images_and_nothing_else(linked: Path, tmp_path: Path) -> None:
    source = open_source(str(linked), format="folder")
    assert source.left_out() == [(name, LINKED) for name in ("backup.tar", "deep/diary.md", "id_rsa", "notes.txt")]

    def readable(items: Iterator[Item]) -> Iterator[bytes | None]:
        for item in items:
            try:
                decode(item.data, limits=Limits())
                yield item.data
            except Rejected:
                yield None

    for shard in source.shards():
        list(source.rewrite(shard, to=str(tmp_path / "out"), extension=".png", change=readable))
    assert below(tmp_path / "out") == ["alias.txt", "deep/cat.png", "own.png", "own.txt", "photo.png"]
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_named_files_follow_the_same_rule(linked: Path) -> None:
    source = open_source(f"{linked}/{{own.png,deep/cat.png,deep/diary.md}}", format="folder")
    assert source.left_out() == [("deep/diary.md", LINKED)]
    assert [name for name, _ in source.files()] == ["deep/cat.png", "own.png"]
    assert source.linked() == ["deep/cat.png"]
    told = beside_lines(source)["linked"]
    assert told == "1 image comes through links from elsewhere, protected like the others: deep/cat.png"


def test_a_link_to_another_class_is_told_because_its_images_are_there_twice(tmp_path: Path) -> None:
    for name in ("cats/a.png", "cats/b.png", "dogs/c.png", ".store/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PICTURE)
    (tmp_path / "cats/cat.txt").write_text("a cat")
    (tmp_path / "kittens").symlink_to("cats")
    (tmp_path / "dogs/d.png").symlink_to("../.store/d.png")  # as data sets under version control keep their files: there once
    source = open_source(str(tmp_path), format="folder")
    assert [name for name, _ in source.files()] == [
        *("cats/a.png", "cats/b.png", "cats/cat.txt", "dogs/c.png", "dogs/d.png", "kittens/a.png", "kittens/b.png", "kittens/cat.txt")
    ]
    assert (source.linked(), source.doubled()) == ([], ["kittens/a.png", "kittens/b.png"])
    told = "2 images are there twice, as links bring them from elsewhere in the source: kittens/a.png, kittens/b.png"
    assert beside_lines(source)["linked"] == told
    (tmp_path / ".latest").symlink_to("cats")
    (tmp_path / "cats/.best.png").symlink_to("a.png")
    (tmp_path / ".store/e.png").symlink_to("../cats/a.png")
    again = open_source(str(tmp_path), format="folder")
    assert again.files() == source.files()  # what is hidden stays at home, links as well
    named = open_source(f"{tmp_path}/{{cats/a.png,kittens/a.png,dogs/d.png}}", format="folder")
    assert named.doubled() == ["kittens/a.png"]


def test_shards_may_lie_elsewhere_as_a_download_cache_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    pq.write_table(pa.table({"image": [PICTURE]}), tmp_path / "blobs/1")
    (tmp_path / "blobs/2").write_text("about")
    (tmp_path / "snapshot/x.parquet").symlink_to("../blobs/1")
    (tmp_path / "snapshot/README.md").symlink_to("../blobs/2")
    source = open_source(str(tmp_path / "snapshot"))
    assert source.format == "parquet"
    assert [name for name, _ in source.files()] == ["x.parquet"]
    assert source.left_out() == [("README.md", LINKED)]


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_that_would_fill_the_memory_is_rejected_by_its_header(name: str) -> None:
    data = BOMBS[name]()
    for asked in (
        lambda: decode(data, limits=Limits(max_pixels=1_000_000)),
        lambda: decode_square(data, size=32, limits=Limits(max_pixels=1_000_000)),
    ):
        with pytest.raises(Rejected, match=r"is over 1000000 pixels"):
            asked()


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_text_in_a_picture_is_not_inflated_without_end(kind: bytes) -> None:
    text = chunk(kind, (b"a\0\1\0\0\0" if kind == b"iTXt" else b"a\0\0") + zeros(100))
    with pytest.raises(Rejected, match="damaged: Decompressed data too large"):
        decode(png(32, 32, data=zeros(1), extra=text), limits=Limits())


CHILD = """
import resource, sys
from pathlib import Path
from ray_ue.images.codec import Limits, Rejected, decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[1:]):
    try:
        decode(path.read_bytes(), limits=Limits(max_pixels=1_000_000))
    except Rejected:
        continue
    sys.exit(f"{path} was decoded")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_refusing_pictures_takes_no_memory(tmp_path: Path) -> None:
    for name, make in BOMBS.items():
        (tmp_path / name).write_bytes(make())
    asked = [sys.executable, "-c", CHILD, *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=True, cwd=ROOT.parent)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 32 * 2**20


SECRETS = {
    "s3://AKIAFAKE:fakesecret@bucket/photos": "s3://bucket/photos",
    "s3://AKIAFAKE:fake/se+cret@bucket/photos/x.tar": "s3://bucket/photos/x.tar",
    "ftp://me:fakesecret@host:21/photos": "ftp://host:21/photos",
    "https://host/photos.tar?token=fakesecret": "https://host/photos.tar",
    "https://host/photos.tar?X-Amz-Expires=9&X-Amz-Signature=fakesecret": "https://host/photos.tar",
    "https://host/photos.tar?sv=1&sig=fakesecret": "https://host/photos.tar",
    "simplecache::s3://AKIAFAKE:fakesecret@bucket/x": "simplecache::s3://bucket/x",
}
PLAIN = ("photos", "/photos/a:b@c?token=x.png", "s3://bucket/a:b@c/x.tar", "s3://bucket/{0..9}.tar", "s3://bucket/img?.tar")
PLAIN += ("github://owner:name@main/photos", "abfs://container@account.dfs.core.windows.net/x", "ftp://host:21/a@b", "s3://b/x?versionId=3")


@pytest.mark.parametrize("address", SECRETS)
def test_an_address_with_a_password_is_refused_and_not_repeated(address: str, tmp_path: Path) -> None:
    assert without_credentials(address) == SECRETS[address]
    source = open_source(str(write(tmp_path / "in")))
    for asked in (
        lambda: open_source(address),
        lambda: protect.plan(address, str(tmp_path / "out"), recipe=Recipe(), resources=AUTOMATIC),
        lambda: source.rewrite(source.shards()[0], to=address, extension=".png", change=identity),
    ):
        with pytest.raises(ValueError, match="came with a password, key or token") as caught:
            asked()
        assert "fakesecret" not in str(caught.value)
        assert "fake/se" not in str(caught.value)
        assert SECRETS[address] in str(caught.value)


@pytest.mark.parametrize("address", PLAIN)
def test_other_addresses_are_taken_as_they_are(address: str) -> None:
    refuse_secrets(address)


def write(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(image_bytes(number))
    return folder


def test_no_secret_of_the_environment_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {name: f"fake-{name.lower()}" for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "HF_TOKEN")}
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    made = protect.plan(str(write(tmp_path / "in")), str(tmp_path / "out"), recipe=Recipe(), resources=AUTOMATIC)
    home = Folder.at(str(tmp_path / "written"))
    home.write_json(protect.CLAIM, protect.claim_of(made))
    home.write("plan.txt", protect.describe(made, look(made)).encode())
    finish(home, Manifest(stage="test", fingerprint="0", fields=made.recipe.values(("surrogate", "budget")), facts=protect.claim_of(made)))
    written = b"".join(path.read_bytes() for path in (tmp_path / "written").iterdir())
    assert str(tmp_path / "in").encode() in written
    assert not [name for name, value in words.items() if value.encode() in written]


@pytest.mark.usefixtures("registered")
def test_the_payload_of_these_tests_does_what_it_says(tmp_path: Path) -> None:
    """Otherwise every test above would pass for nothing: this is what reading such a file without care runs."""
    made = Bomb(tmp_path / "marker")
    pq.write_table(PARQUET["beside the image"](PICTURE, made), tmp_path / "x.parquet")
    pq.read_table(tmp_path / "x.parquet")["extra"].to_pylist()
    assert made.marker.exists()
