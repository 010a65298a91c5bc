"""Embeddings that clip-retrieval wrote: found by the names of images, read part by part, refused where they do not fit."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clip_retrieval import write_embeddings
from hostile import Bomb

from ray_ue.config.recipe import Recipe
from ray_ue.grouping.embeddings import match, open_given
from ray_ue.pipelines.protect import rooted

KEYS = ["cats/1.jpg", "cats/2.jpg", "dogs/1.jpg", "dogs/deep/3.png"]
VECTORS = np.arange(24, dtype=np.float32).reshape(4, 6)

NAMES = {
    "as the keys are": (KEYS, KEYS),
    "below a relative folder": (KEYS, [f"photos/{key}" for key in KEYS]),
    "below an absolute folder": (KEYS, [f"/data/my photos/{key}" for key in KEYS]),
    "below the root": (KEYS, [f"/{key}" for key in KEYS]),
    "of one class": (KEYS[:2], [f"/data/{key}" for key in KEYS[:2]]),
    "of a class that is called as the folder": (["a/1.jpg", "a/a/2.jpg"], ["x/a/a/1.jpg", "x/a/a/a/2.jpg"]),
    "of samples in tar files": (["00000.tar/000001.jpg", "00000.tar/000002.seg.png", "b.tar/x/3.jpg"], ["000001", "000002", "x/3"]),
    "by file name": (["a/1.jpg", "a/2.jpg"], ["/one/1.jpg", "/other/2.jpg"]),
    "by file name without ending": (["p/1.webp", "p/2.jpg"], ["q/1.png", "r/2.jpeg"]),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_image_finds_its_row_whatever_the_order(name: str) -> None:
    keys, names = NAMES[name]
    order = np.random.default_rng(0).permutation(len(names))
    rows = match([names[row] for row in order], keys, folder="f")
    assert [names[order[row]] for row in rows] == names


def test_rows_of_other_images_are_not_taken() -> None:
    """`1.jpg` in the root is not `cats/1.jpg`, and once paths fit, names alone no longer count."""
    assert match(["in/1.jpg", "in/cats/2.jpg"], KEYS[:2], folder="f").tolist() == [-1, 1]
    assert match(["a/x.jpg", "b/y.jpg"], ["c/z.jpg"], folder="f").tolist() == [-1]
    assert match([], KEYS, folder="f").tolist() == [-1] * 4


@pytest.mark.parametrize(
    ("names", "keys", "phrase"),
    [
        (["in/cats/1.jpg", "in/cats/1.jpg", "in/cats/2.jpg"], KEYS[:2], "1 names .* 'in/cats/1.jpg' and 'in/cats/1.jpg' for 'cats/1.jpg'"),
        (["x/1.jpg", "y/1.jpg"], ["cats/1.jpg"], "'x/1.jpg' and 'y/1.jpg' for 'cats/1.jpg'"),
        (["q/1.jpg"], ["cats/1.jpg", "dogs/1.jpg"], "'q/1.jpg' for 'cats/1.jpg' and 'dogs/1.jpg'"),
        (["000001"], ["0.tar/000001.jpg", "1.tar/000001.jpg"], "'000001' for '0.tar/000001.jpg' and '1.tar/000001.jpg'"),
    ],
)
def test_what_could_be_two_is_refused_with_an_example(names: list[str], keys: list[str], phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        match(names, keys, folder="f")


@pytest.mark.parametrize("parts", [1, 2, 12])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("column", ["image_path", "key"])
def test_vectors_of_any_rows_come_in_their_order(parts: int, dtype: type, column: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
    found = open_given(
        str(write_embeddings(tmp_path / "e", [f"{i}.jpg" for i in range(40)], vectors, parts=parts, dtype=dtype, column=column))
    )
    assert (found.rows, found.width, len(found.parts)) == (40, 6, parts)
    assert found.names() == [f"{i}.jpg" for i in range(40)]
    rows = np.array([39, 0, 17, 16, 17])
    np.testing.assert_array_equal(found.vectors(rows), vectors.astype(dtype).astype(np.float32)[rows])


def test_the_identity_is_the_content_wherever_it_lies(tmp_path: Path) -> None:
    one = write_embeddings(tmp_path / "one", KEYS, VECTORS, parts=2)
    shutil.copytree(one, tmp_path / "two")
    changed = write_embeddings(tmp_path / "three", KEYS, VECTORS + 1, parts=2)
    named = write_embeddings(tmp_path / "four", KEYS[::-1], VECTORS, parts=2)
    found = [Recipe(embeddings=str(folder)).values(("embeddings",)) for folder in (one, tmp_path / "two", changed, named)]
    assert found[0] == found[1]
    assert len({str(each) for each in found}) == 3
    assert Recipe().values(("embeddings",)) == {"embeddings": ""}


def damaged(root: Path, what: str) -> Path:
    folder = write_embeddings(root / "e", KEYS, VECTORS, parts=2)
    array, names = folder / "img_emb/img_emb_1.npy", folder / "metadata/metadata_1.parquet"
    if what == "no folder":
        return root / "nowhere"
    if what == "no vectors":
        shutil.rmtree(folder / "img_emb")
    elif what == "one part of names":
        names.unlink()
    elif what == "one part of vectors":
        array.unlink()
    elif what == "fewer vectors":
        np.save(array, VECTORS[:1].astype(np.float16))
    elif what == "wider vectors":
        np.save(array, np.zeros((2, 7), np.float16))
    elif what == "whole numbers":
        np.save(array, np.zeros((2, 6), np.int64))
    elif what == "flat":
        np.save(array, np.zeros(2, np.float16))
    elif what == "cut":
        array.write_bytes(array.read_bytes()[:-3])
    elif what == "a pickle":
        array.write_bytes(Bomb(root / "marker").pickled())
    elif what == "objects":
        np.save(array, np.array([[Bomb(root / "marker")] * 6] * 2, object))
    elif what == "no names":
        pd.DataFrame({"caption": ["a", "b"]}).to_parquet(names)
    elif what == "no parquet":
        names.write_bytes(b"PAR1 no")
    return folder


DAMAGES = {
    "no folder": "nowhere holds no embeddings: a clip-retrieval folder holds img_emb/img_emb_0.npy and metadata/metadata_0.parquet",
    "no vectors": "holds no embeddings",
    "one part of names": "part 1 has no metadata",
    "one part of vectors": "part 1 has no vectors",
    "fewer vectors": "has 1 vectors and metadata_1.parquet 2 names",
    "wider vectors": "the vectors have 6 in img_emb_0.npy and 7 in img_emb_1.npy numbers",
    "whole numbers": r"holds int64 of shape \(2, 6\); embeddings are float16 or float32",
    "flat": r"holds float16 of shape \(2,\)",
    "cut": "img_emb_1.npy cannot be read as a plain array of numbers; pickled objects are never loaded",
    "a pickle": "pickled objects are never loaded",
    "objects": "pickled objects are never loaded",
    "no names": "has neither image_path nor key, only caption",
    "no parquet": "is not a Parquet file, or is damaged",
}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_is_not_as_clip_retrieval_writes_it_is_named_before_any_work(what: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=DAMAGES[what]) as caught:
        Recipe(embeddings=str(damaged(tmp_path, what))).check()
    assert "\n" not in str(caught.value)
    assert "allow_pickle" not in str(caught.value)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("fields", "phrase"),
    [
        ({"embeddings": "s3://b/e"}, "must lie in a folder of this machine"),
        ({"embeddings": "e", "groups": "label"}, "so they need --groups kmeans"),
    ],
)
def test_embeddings_that_cannot_be_used_are_refused(fields: dict, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        Recipe(**fields).check()


def test_a_relative_folder_is_still_found_by_a_command_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert rooted(Recipe(embeddings="vectors")).embeddings == str(tmp_path / "vectors")
    assert rooted(Recipe()) == Recipe()
