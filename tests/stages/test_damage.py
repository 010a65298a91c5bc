"""Damage outside and inside a copy: originals that cannot be read any more, and packed files that were cut off."""

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import image_bytes
from growing import LOCAL, OWN, run, write
from sources.source_makers import tar

from ray_ue.cli.main import main
from ray_ue.config.recipe import Recipe
from ray_ue.pipelines import protect as pipeline
from ray_ue.pipelines.protect import protect
from ray_ue.pipelines.standing import Standing
from ray_ue.storage.artifacts import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

NAMES = [f"cats/{number}.png" for number in range(6)]


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_original_that_cannot_be_read_any_more_takes_nothing_from_the_copy(tmp_path: Path) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    before, original = files(tmp_path / "out"), tmp_path / "in/cats/1.png"
    kept = original.read_bytes()
    original.write_bytes(np.random.default_rng(0).bytes(len(kept)))  # rotten, of the same size
    assert main(["verify", str(tmp_path / "out"), "--workers", "local"]) == 0
    for _ in range(2):
        proved = run(tmp_path, **OWN)["export"].folder.read_json("verified.json")
        assert (proved["images"], proved["originals"]) == (6, 5)
    assert files(tmp_path / "out") == before
    (tmp_path / "out/cats/1.png").unlink()
    with pytest.raises(ValueError, match=r"cannot be written again, as an original cannot be read \(cats/1\.png: "):
        run(tmp_path, **OWN)
    original.write_bytes(kept)
    assert run(tmp_path, **OWN)["export"].folder.read_json("verified.json")["originals"] == 6
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("left", [300, -100])
@pytest.mark.parametrize("cut", [0, 1])
def test_a_packed_file_that_was_cut_off_is_written_again(
    kind: str, left: int, cut: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for shard in range(2):
        images = {f"dir/{shard}{number}.png": image_bytes(10 * shard + number) for number in range(3)}
        if kind == "tar":
            tar(tmp_path / f"in/{shard}.tar", list(images.items()))
        else:
            cells = [{"bytes": data, "path": name} for name, data in images.items()]
            pq.write_table(pa.table({"image": cells}), tmp_path / f"in/{shard}.parquet")
    run(tmp_path, **OWN)
    before, packed = files(tmp_path / "out"), tmp_path / f"out/{cut}.{kind}"
    os.truncate(packed, left if left > 0 else packed.stat().st_size + left - (10_240 if kind == "tar" else 0))
    job = pipeline.plan(str(tmp_path / "in"), str(tmp_path / "out"), recipe=Recipe(**OWN), resources=LOCAL)
    assert "3 images of the copy missing or damaged" in Standing.of(job).lines(job)["mend"]
    assert main(["verify", str(tmp_path / "out"), "--workers", "local"]) == 1
    assert f"1 file of {tmp_path}/out damaged: {cut}.{kind}; 3 images missing from the copy" in capsys.readouterr().err
    protect(tmp_path / "in", tmp_path / "out", resources=LOCAL, **OWN)
    assert files(tmp_path / "out") == before
    assert Standing.of(job).lines(job) == {}
    for shard in range(2):
        (tmp_path / f"out/{shard}.{kind}").unlink()
    (tmp_path / "out/notes.md").write_text("mine")
    assert "6 images of the copy missing or damaged" in Standing.of(job).lines(job)["mend"]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_packed_file_stays_as_it_is_where_one_of_its_originals_cannot_be_read(kind: str, tmp_path: Path) -> None:
    """Its other images would take its place, and it would be lost."""
    (tmp_path / "in").mkdir()
    images = [(f"{number}.png", image_bytes(number)) for number in range(4)]
    packed, copy = tmp_path / f"in/a.{kind}", tmp_path / f"out/a.{kind}"

    def pack() -> None:
        if kind == "tar":
            tar(packed, images)
        else:
            cells = [{"bytes": data, "path": name} for name, data in images]
            pq.write_table(pa.table({"image": cells}), packed, compression="none", use_dictionary=False, write_statistics=False)

    pack()
    run(tmp_path, **OWN)
    images[1] = ("1.png", b"\0" * len(images[1][1]))  # rotten, of the same size
    pack()
    whole = copy.read_bytes()
    at = whole.index(b"IDAT") + 40
    copy.write_bytes(damaged := whole[:at] + b"\xff" * 8 + whole[at + 8 :])  # and its first image is damaged
    with pytest.raises(ValueError, match="cannot be written again, as an original cannot be read"):
        run(tmp_path, **OWN)
    assert copy.read_bytes() == damaged
    images[1] = ("1.png", image_bytes(1))
    pack()
    run(tmp_path, **OWN)
    assert copy.read_bytes() == whole


def test_a_copy_that_cannot_be_written_is_proved_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in", NAMES)
    run(tmp_path, **OWN)
    wrote = Folder.write_json

    def read_only(folder: Folder, name: str, value: object) -> None:
        if name == "verified.json":
            raise OSError(errno.EROFS, "Read-only file system", name)
        wrote(folder, name, value)

    monkeypatch.setattr(Folder, "write_json", read_only)
    (tmp_path / "in/cats/0.png").unlink()
    next((tmp_path / "out.ray-ue").glob("export-*/verified.json")).unlink()
    assert main(["verify", str(tmp_path / "out"), "--workers", "local"]) == 0
    told = capsys.readouterr()
    assert "the proof holds, and is not kept: Read-only file system" in told.err
    assert "all 6 images read back" in told.out
    assert "1 by the ledger alone" in told.out
