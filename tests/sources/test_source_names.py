"""Names in the copy: unique, safe, and the same whatever the export format."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_makers import identity, picture

from ray_ue.sources import open_source
from ray_ue.sources.image_files import EXTENSIONS
from ray_ue.sources.naming import safe, stems

CASES = {
    "one": (["a.jpg"], [], ["a"]),
    "two endings": (["a.jpg", "a.png"], [], ["a.jpg", "a.png"]),
    "other folders do not matter": (["x/a.jpg", "y/a.png"], [], ["x/a", "y/a"]),
    "a full name that is taken": (["a.jpg", "a.jpg.png", "a.png"], [], ["a.jpg-2", "a.jpg", "a.png"]),
    "a file beside": (["a.jpg"], ["a.webp"], ["a.jpg"]),
    "a folder beside": (["a.jpg", "a.png/b.jpg"], [], ["a.jpg", "a.png/b"]),
    "no ending": (["photo", "v1.2"], [], ["photo", "v1.2"]),
    "upwards": (["../../etc/a.jpg", "/etc/a.jpg"], [], ["etc/a.jpg", "etc/a.jpg-2"]),
    "the same name twice": (["a.jpg", "a.jpg"], [], ["a.jpg", "a.jpg-2"]),
    "not text": (["a\udcff.jpg"], [], ["a\\udcff"]),
    "nothing left": ([".."], [], ["unnamed"]),
}


@pytest.mark.parametrize("name", CASES)
def test_names(name: str) -> None:
    images, others, wanted = CASES[name]
    assert stems(images, others=others) == wanted


PIECE = st.sampled_from(["a", "b", "a.jpg", "a.png", "a.jpg.png", "a.png-2", "..", "", ".", "a.txt", "\udcff.gif"])
PATHS = st.lists(st.lists(PIECE, min_size=1, max_size=3).map("/".join), max_size=8)


@given(images=PATHS, others=PATHS)
def test_no_two_files_share_a_name_and_none_leaves_the_copy(images: list[str], others: list[str]) -> None:
    for extension in EXTENSIONS.values():
        names = [stem + extension for stem in stems(images, others=others)]
        assert len(set(names)) == len(images)
        assert not set(names) & {safe(other) for other in others}
        assert all(name == safe(name) and name.encode() for name in names)
    assert stems(images, others=others[::-1]) == stems(images, others=others)


def test_members_of_a_tar_that_are_no_unicode_stay_readable(tmp_path: Path) -> None:
    names = ["caf\udce9/a.jpg", "plain.jpg"]
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in/old.tar", "w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") as out:
        for name in [*names, "caf\udce9/a.txt"]:
            info = tarfile.TarInfo(name)
            info.size = len(data := picture(0) if name.endswith(".jpg") else b"words")
            out.addfile(info, io.BytesIO(data))
    source = open_source(str(tmp_path / "in"))
    for shard in source.shards():
        list(source.rewrite(shard, to=str(tmp_path / "out"), extension=".png", change=identity))
    with tarfile.open(tmp_path / "out/old.tar") as copy:
        assert sorted(copy.getnames()) == ["café/a.png", "café/a.txt", "plain.png"]
