"""An artifact is whole or absent, and its fingerprint moves when, and only when, its identity does."""

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_ue.storage.artifacts import Folder, Manifest, fingerprint, finish, finished, opened
from ray_ue.storage.mapped import new_mapped


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


def test_a_name_is_removed_and_no_other_that_it_would_fit_as_a_pattern(folder: Folder) -> None:
    names = ["photo[1].png", "photo1.png", "a*/b.png", "ab/b.png"]
    for name in names:
        folder.write(name, b"x")
    folder.remove("photo[1].png")
    folder.remove("a*")
    assert [folder.exists(name) for name in names] == [False, True, False, True]
    folder.remove("absent[1].png")


def test_what_is_taken_out_leaves_no_empty_folder(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path / "copy"))
    for name in ("a/b/one.png", "a/two.png", "c/three.png"):
        folder.write(name, b"x")
    folder.take_out("a/b/one.png")
    folder.take_out("c/three.png")
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*")) == ["a", "two.png"]
    folder.take_out("a/two.png")
    assert (tmp_path / "copy").is_dir()


def test_a_tilde_that_is_nobodys_home_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Folder.at("~nobody-of-this-name/out").uri == f"{tmp_path}/~nobody-of-this-name/out"
    monkeypatch.setenv("HOME", "/home/me")
    assert Folder.at("~/out").uri == "/home/me/out"


def test_a_mapped_file_has_its_room_or_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = new_mapped(tmp_path / "whole.npy", dtype=np.int8, shape=(3, 5000))
    assert whole.shape == (3, 5000)
    assert not whole.any()
    assert (tmp_path / "whole.npy").stat().st_blocks * 512 >= 15_000  # no hole that a full disk could not fill

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: '\S+/none\.npy'"):
        new_mapped(tmp_path / "none.npy", dtype=np.int8, shape=(3, 5000))
    assert not (tmp_path / "none.npy").exists()
