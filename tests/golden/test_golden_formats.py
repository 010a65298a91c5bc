"""How every source format lists, reads and copies images, without Ray, is what was recorded; so is what is crafted against texts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from golden.comparing import compare, digest, skip_elsewhere
from methods.test_concept import TEXTS, follow, method, shown, view
from sources.source_makers import MAKERS, identity
from tiny_clip import tiny_clip

from ray_ue.methods import Per
from ray_ue.models.pretrained.specs import parse
from ray_ue.models.pretrained.surrogates import Surrogate, load
from ray_ue.sources import FORMATS, open_source


@pytest.fixture(autouse=True)
def _machine() -> None:
    skip_elsewhere()


def fixed(root: Path) -> Path:
    """The same files as if they had been written at one moment: a tar file names it."""
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


@pytest.mark.parametrize("format", FORMATS)
def test_sources(format: str, tmp_path: Path) -> None:
    source, copy = open_source(str(fixed(MAKERS[format](tmp_path / format)))), tmp_path / "copy"
    values = {"listing": source.digest(), "classes": digest(list(source.class_names()))}
    for shard in source.shards():
        rows = source.rows(shard)
        values[f"rows of {shard.number}"] = digest(rows.to_pydict())
        values[f"images of {shard.number}"] = digest(list(source.read(shard, rows)))
        written = source.rewrite(shard, to=str(copy), extension=".jpg", change=identity)
        values[f"names of {shard.number}"] = digest([[image.key, image.name] for image in written])
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    values |= {f"copy/{path.relative_to(copy).as_posix()}": digest(path.read_bytes()) for path in files}
    compare(f"source {format}", values)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surrogate]:
    with tiny_clip(tmp_path_factory.mktemp("clip"), name="tiny-golden-clip") as spec:
        yield load(parse(spec), device=torch.device("cpu"), image_size=32, weights={})


@pytest.mark.parametrize("per", ["image", "group"])
def test_a_copy_against_texts(per: Per, clip: Surrogate, tmp_path: Path) -> None:
    (tmp_path / "concepts.txt").write_text(TEXTS)
    made, seen = method(tmp_path / "concepts.txt"), view(clip, tmp_path / "table", per=per)
    steps = list(follow(made, seen))
    state = steps[-1][1]
    values = {"losses": digest([step.loss for step, _ in steps]), "state": digest(state), "copy": digest(shown(made, seen, state))}
    compare(f"concept per {per}", values)
