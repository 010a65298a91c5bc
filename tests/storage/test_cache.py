"""The cache of downloads never gives old content, never grows without end, and trusts no folder of somebody else's."""

import os
import time
from pathlib import Path

import fsspec
import pytest

from ray_ue.storage import cache
from ray_ue.storage.artifacts import Folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path / f"ray-ue-cache-{os.getuid()}"


def test_an_object_that_was_written_anew_is_fetched_anew(home: Path) -> None:
    folder = Folder.at("memory://cached")
    folder.write("bank", b"old!")
    first = folder.fetch("bank")
    assert folder.fetch("bank") == first
    folder.write("bank", b"new!")
    assert folder.fetch("bank").read_bytes() == b"new!"
    assert first.read_bytes() == b"old!", "whoever maps it still can"
    folder.remove("bank")
    with pytest.raises(FileNotFoundError):
        folder.fetch("bank")
    assert not list(home.glob("*.draft-*"))


def test_what_was_not_used_for_long_goes_and_the_oldest_where_room_is_short(home: Path) -> None:
    home.mkdir()
    ages = {"weeks": 2 * cache.OLD, "days": cache.OLD / 2, "hours": 2 * cache.IDLE, "now": 0}
    for name, age in ages.items():
        (home / name).write_bytes(b"x" * 100)
        os.utime(home / name, (time.time() - age,) * 2)
    cache.evict(home)
    assert {path.name for path in home.iterdir()} == {"days", "hours", "now"}
    cache.evict(home, most=250)
    assert {path.name for path in home.iterdir()} == {"hours", "now"}
    cache.evict(home, most=0)
    assert {path.name for path in home.iterdir()} == {"now"}, "somebody may be about to open it"


def test_a_folder_that_others_can_write_to_is_refused(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)
    fsspec.filesystem("memory").pipe_file("/cached/file", b"x")
    with pytest.raises(ValueError, match="not a folder that only you can write to; remove it, or set TMPDIR"):
        Folder.at("memory://cached").fetch("file")
