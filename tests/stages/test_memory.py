"""Memory: a picture takes at most 16 bytes a pixel, and no more of them are worked on side by side than fit."""

import gc
import hashlib
import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from conftest import photo
from perturbations.test_poisons import POISONS
from PIL import Image

from ray_ue.config.recipe import Resources
from ray_ue.engine.machines import Machines, Node
from ray_ue.images.codec import Limits, decode
from ray_ue.images.memory import READING, WRITING
from ray_ue.images.png import write_png
from ray_ue.sources import Item, open_source
from ray_ue.stages.protect import comparison
from ray_ue.stages.protect.comparison import Checker, Finding
from ray_ue.stages.protect.memory import PROCESS, largest_picture, share_out
from ray_ue.stages.protect.writer import Writer
from ray_ue.storage.artifacts import Artifact, Folder, Manifest

SIDE = 3000
RESIDENT, PEAK, FORGET = "VmRSS", "VmHWM", Path("/proc/self/clear_refs")
needs_proc = pytest.mark.skipif(not FORGET.exists(), reason="only Linux tells the peak of a process")
GIB = 2**30


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def large(format: str, **options: Any) -> bytes:
    """A photo-like picture of 9 megapixels."""
    small = Image.fromarray(photo(1, height=300, width=300)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).integers(-5, 6, (SIDE, SIDE, 3), np.int16)
    out = io.BytesIO()
    Image.fromarray((np.asarray(small) + noise).clip(0, 255).astype(np.uint8)).save(out, format, **options)
    return out.getvalue()


@needs_proc
@pytest.mark.parametrize("kind", POISONS)
def test_a_picture_is_exported_in_sixteen_bytes_a_pixel(kind: str, unchecked: None) -> None:
    nothing = cast(Any, None)
    fields: dict[str, Any] = {"resize": 0, "image_format": "png", "strip": "location", "limits": Limits(), "ssim_every": 50, "threads": 1}
    writer = Writer(source=nothing, output="", index=nothing, poison=nothing, ledger=nothing, **fields)
    data = large("JPEG")
    gc.collect()
    FORGET.write_text("5")
    before = resident(RESIDENT)
    published, _ = writer.protect(Item(key="a", data=data), 0, 1, POISONS[kind])
    assert published
    assert resident(PEAK) - before < WRITING["png"] * SIDE**2


@pytest.mark.parametrize(("gib", "expected"), [(64.0, (8, 1)), (3.0, (3, 1)), (1.0, (1, 1))])
def test_as_many_pictures_are_worked_on_as_fit_the_memory(gib: float, expected: tuple[int, int]) -> None:
    machines = Machines(nodes=(Node(cpus=8, gpus=0, cores=8, memory=gib * GIB),))
    pixels = (GIB - PROCESS) // READING
    asked: dict[str, Any] = {"tasks": 100, "per_pixel": READING, "limits": Limits(), "largest": lambda: pixels}
    assert share_out(machines, Resources(), **asked) == expected


def test_threads_of_one_task_share_its_memory_too() -> None:
    machines = Machines(nodes=(Node(cpus=8, gpus=0, cores=8, memory=3 * GIB),))
    asked: dict[str, Any] = {"per_pixel": READING, "limits": Limits(), "largest": lambda: (GIB - PROCESS) // READING}
    assert share_out(machines, Resources(), tasks=1, **asked) == (1, 3)


def test_memory_for_the_largest_pictures_that_are_allowed_is_not_asked_for_what_there_is() -> None:
    def largest() -> int:
        raise AssertionError("no header needs to be read")

    machines = Machines(nodes=(Node(cpus=4, gpus=0, cores=4, memory=16 * GIB),))
    assert share_out(machines, Resources(), tasks=9, per_pixel=READING, limits=Limits(), largest=largest) == (4, 1)


def test_a_picture_that_fits_nowhere_is_one_sentence_with_both_numbers() -> None:
    machines = Machines(nodes=(Node(cpus=4, gpus=0, cores=4, memory=GIB),))
    message = r"a picture of 96\.0 megapixels needs about 1\.8 GiB .*the most is 1\.0 GiB.*take such pictures out of the source"
    with pytest.raises(ValueError, match=message):
        share_out(machines, Resources(), tasks=2, per_pixel=READING, limits=Limits(), largest=lambda: 96_000_000)


def test_the_largest_picture_is_found_by_headers_of_the_largest_files(tmp_path: Path) -> None:
    for number in range(80):
        Image.fromarray(photo(number)).save(tmp_path / f"{number}.png")
    Image.fromarray(photo(0, height=90, width=120)).save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" * 9000)
    source, home = open_source(str(tmp_path)), Folder(str(tmp_path / "index"))
    (shard,) = source.shards()
    home.write_table("rows/shard-000000.parquet", source.rows(shard))
    home.write_table("shards.parquet", pa.table({"shard": [0], "rows": [82]}))
    manifest = Manifest(stage="index", fingerprint="0", fields={}, inputs={}, facts={}, versions={})
    assert largest_picture(source, Artifact(folder=home, manifest=manifest), limits=Limits()) == 90 * 120


@needs_proc
def test_a_picture_is_verified_in_sixteen_bytes_a_pixel(monkeypatch: pytest.MonkeyPatch, unchecked: None) -> None:
    poison, original = POISONS["waves"], large("JPEG")
    monkeypatch.setattr(comparison, "poison_here", lambda folder: poison)
    fields: dict[str, Any] = dict.fromkeys(("source", "copy", "index", "ledger", "poison"))
    fields |= {"limits": Limits(), "resize": 0, "levels": 16, "lossless": True, "threads": 1}
    checker = Checker(**fields, classes=[], copied_classes=[], replaced=frozenset())
    written = write_png(poison.apply(decode(original, limits=Limits()).rgb, 1, key="a"), None, exif=b"", icc=b"")
    line = {"sha256": hashlib.sha256(written).hexdigest(), "slot": 1, "key": "a", "most": 16}
    gc.collect()
    FORGET.write_text("5")
    before = resident(RESIDENT)
    assert checker.check(line, original, "", written, "") == Finding(most=16, proved=True)
    assert resident(PEAK) - before < READING * SIDE**2
