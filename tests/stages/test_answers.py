"""Superclasses from class names, by a real open_clip checkpoint with random weights: from the flag to the labels of both splits."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from conftest import image_bytes
from safetensors.torch import load_file, save_file
from tiny_clip import tiny_clip

from ray_ue import specs
from ray_ue.artifacts import Artifact, Folder, Manifest
from ray_ue.grid import Grid
from ray_ue.nets.clip import embed_names
from ray_ue.recipe import Recipe, Resources
from ray_ue.sources import open_source
from ray_ue.stages.answers import Answers, open_labels
from ray_ue.stages.dataset import Data
from ray_ue.stages.index import name_of, summarise
from ray_ue.stages.session import Machines

KINDS = ("tabby cat", "siamese cat", "fire truck", "pickup truck", "a bowl of soup")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tiny_clip(tmp_path_factory.mktemp("clip"), name="tiny-texts-clip") as spec:
        yield spec


def listed(root: Path) -> Artifact:
    """The index of a folder of images, as the stage makes it under Ray; and views of all rows in the same folder."""
    source, home = open_source(str(root), format="auto"), Folder.at(f"{root}-index")
    shards = list(source.shards())
    for shard in shards:
        home.write_table(f"rows/{name_of(shard.number)}", source.rows(shard))
    lines = summarise(home, shards)
    home.write_table("shards.parquet", lines)
    rows = sum(lines["rows"].to_pylist())
    for name, values in (("pixels", np.zeros((rows, 8, 8, 3), np.uint8)), ("ids", np.arange(rows))):
        with home.writing(f"{name}.npy") as file:
            np.save(file, values)
    return Artifact(folder=home, manifest=Manifest(stage="index", fingerprint=root.name, facts={"classes": source.class_names()}))


@dataclass(frozen=True, kw_only=True, eq=False)
class Here(Data):
    """An evaluation's data whose index was made without Ray and whose rows can all be read."""

    indexes: dict[str, Artifact]

    def index_of(self, uri: str) -> Artifact:
        return self.indexes[uri]

    @cached_property
    def ids(self) -> np.ndarray:
        return np.arange(sum(line["rows"] for line in self.clean_index.folder.read_table("shards.parquet").to_pylist()))

    @cached_property
    def test(self) -> Artifact:
        return self.test_index


def answers(home: Path, *, texts: str, kinds: tuple[str, ...] = KINDS, packed: bool = False) -> Answers:
    """Two training images of each kind and one test image."""
    for split, count in (("train", 2), ("test", 1)):
        for number in range(count * len(kinds)):
            kind = kinds[number % len(kinds)]
            path = home / split / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image_bytes(number, height=8, width=8))
    indexes = {split: listed(home / split) for split in ("train", "test")}
    if packed:  # as a WebDataset has it: numbers alone
        for artifact in indexes.values():
            artifact.facts["classes"] = []
    data = Here(
        grid=Grid(texts=texts),
        clean_uri="train",
        test_uri="test",
        copies=[],
        work=Folder.at(str(home / "work")),
        resources=Resources(),
        machines=Machines(cpus=1, gpus=0, nodes=1, cores=1),
        recipe=Recipe(),
        indexes=indexes,
    )
    return Answers(data=data)


def test_class_names_become_two_superclasses_that_both_splits_share(texts: str, tmp_path: Path) -> None:
    made = answers(tmp_path, texts=texts)
    artifact = made.labels("text:2")
    train, test = open_labels(artifact.folder)
    above = dict(zip(made.known.train.tolist(), train.tolist(), strict=True))
    assert artifact.facts["classes"] == 2
    assert set(above) == set(range(len(KINDS)))
    assert set(above.values()) == {0, 1}
    assert all(above[label] == found for label, found in zip(made.known.train.tolist(), train.tolist(), strict=True))
    assert all(above[label] == found for label, found in zip(made.known.test.tolist(), test.tolist(), strict=True))
    assert all(" + " in name or name in KINDS for name in artifact.facts["names"])


def test_the_superclasses_are_those_of_the_text_tower(texts: str, tmp_path: Path) -> None:
    """The split into two that leaves the embeddings nearest to their middles, found by trying all of them."""
    made = answers(tmp_path, texts=texts)
    spec = specs.parse(texts)
    vectors = embed_names(spec.arch, spec.weights, made.known.names)
    assert vectors.shape == (len(KINDS), 16)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    splits = [np.array([(code >> place) & 1 for place in range(len(KINDS))]) for code in range(1, 2 ** (len(KINDS) - 1))]
    spread = [sum(np.square(vectors[split == side] - vectors[split == side].mean(0)).sum() for side in (0, 1)) for split in splits]
    best = splits[int(np.argmin(spread))]
    train = open_labels(made.labels("text:2").folder)[0]
    assert len({(best[label], found) for label, found in zip(made.known.train.tolist(), train.tolist(), strict=True)}) == 2


def test_labels_belong_to_the_checkpoints_content_not_to_its_path(texts: str, tmp_path: Path) -> None:
    spec, files = specs.parse(texts), (tmp_path / "same.safetensors", tmp_path / "other.safetensors")
    files[0].write_bytes(spec.file.read_bytes())
    weights = load_file(spec.file)
    save_file(weights | {"text_projection": weights["text_projection"].flip(0)}, files[1])
    one, same, other = (
        answers(tmp_path / name, texts=text).labels("text:2").fingerprint
        for name, text in (("a", texts), *((file.stem, f"open_clip:{spec.arch}@{file}") for file in files))
    )
    assert one == same != other


def test_without_an_encoder_it_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs a text encoder: name one with --texts, such as open_clip:ViT-B-32/openai"):
        answers(tmp_path, texts="").labels("text:2")


def test_numbers_are_no_names(texts: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--relabels text needs class names, and the source has none; use super instead"):
        answers(tmp_path, texts=texts, packed=True).labels("text:2")
