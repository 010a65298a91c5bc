"""An artifact is whole or absent, and its fingerprint moves when, and only when, its identity does."""

from pathlib import Path

import pyarrow as pa
import pytest

from ray_ue.storage.artifacts import Folder, Manifest, fingerprint, finish, finished, opened


@pytest.fixture(params=["local", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "s3":
        return Folder.at(request.getfixturevalue("store") + f"/{tmp_path.name}")
    return Folder.at(str(tmp_path / "a") if request.param == "local" else f"memory://{tmp_path.name}")


def test_what_is_written_is_read_back(folder: Folder) -> None:
    folder.write("deep/inside/file", b"content")
    folder.write_json("value.json", {"a": [1, 2]})
    folder.write_table("t.parquet", pa.table({"x": [1, 2], "y": ["a", "b"]}))
    assert folder.read("deep/inside/file") == b"content"
    assert folder.read_json("value.json") == {"a": [1, 2]}
    assert folder.read_table("t.parquet", columns=("y",)).to_pydict() == {"y": ["a", "b"]}
    assert folder.fetch("value.json").read_text().startswith("{")
    assert folder.names() == ["deep", "t.parquet", "value.json"]
    assert folder.names("nowhere") == []


def test_a_file_whose_writing_fails_never_appears(folder: Folder) -> None:
    folder.write("kept", b"old")

    def fail() -> None:
        with folder.writing("kept") as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert folder.read("kept") == b"old"
    assert folder.names() == ["kept"]


def test_a_folder_is_an_artifact_once_its_manifest_is_there(folder: Folder) -> None:
    folder.write("data", b"1")
    assert not finished(folder)
    with pytest.raises(ValueError, match=r"no finished artifact .*run the stage"):
        opened(folder)
    made = finish(folder, Manifest(stage="test", fingerprint="f", facts={"rows": 3}))
    assert finished(folder)
    assert opened(folder).manifest == made.manifest


def test_a_fingerprint_moves_with_everything_that_identifies_a_result() -> None:
    base = fingerprint("embed", version=1, fields={"k": 3}, inputs={"index": "abc"})
    assert base == fingerprint("embed", version=1, inputs={"index": "abc"}, fields={"k": 3})
    others = [
        fingerprint("craft", version=1, fields={"k": 3}, inputs={"index": "abc"}),
        fingerprint("embed", version=2, fields={"k": 3}, inputs={"index": "abc"}),
        fingerprint("embed", version=1, fields={"k": 4}, inputs={"index": "abc"}),
        fingerprint("embed", version=1, fields={"k": 3}, inputs={"index": "abd"}),
    ]
    assert len({base, *others}) == 5


def test_an_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*name a folder"):
        Folder.at(str(tmp_path / "file" / "below")).check_writable()


def test_asking_whether_a_folder_can_be_written_makes_none(tmp_path: Path) -> None:
    Folder.at(str(tmp_path / "new")).check_writable()
    assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    Folder.at(str(tmp_path / "there")).check_writable()
    assert (tmp_path / "there").is_dir()
