"""A run that starts from clip-retrieval's embeddings: its clusters follow them, its centres the surrogate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_retrieval import write_embeddings
from conftest import image_bytes, write_photos
from shared_work import UC

from ray_ue.config.recipe import Resources
from ray_ue.grouping.sampling import draw_sample
from ray_ue.images.codec import Limits, decode_square
from ray_ue.pipelines.protect import protect, reopen
from ray_ue.pipelines.protect import run as rerun
from ray_ue.stages.evaluate.copies import open_copy
from ray_ue.stages.protect.cluster import open_groups
from ray_ue.stages.protect.embed import open_surrogate
from ray_ue.stages.protect.vectors import vectors
from ray_ue.storage.artifacts import Artifact

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

QUICK: dict[str, Any] = UC | {"craft_sample": 200}
LOCAL = Resources(workers="local")


def run(root: Path, *, until: str = "verify", out: str = "out", **fields: Any) -> dict[str, Artifact]:
    given: dict[str, Any] = {"embeddings": str(root / "embeddings")}
    return protect(str(root / "photos"), str(root / out), resources=LOCAL, until=until, **(QUICK | given | fields))


def kinds(names: list[str]) -> np.ndarray:
    """Three far groups that no picture shows: by the last digit of the file name."""
    return np.array([int(Path(name).stem[-1]) % 3 for name in names])


def embed(root: Path, names: list[str], *, to: str = "embeddings") -> Path:
    spread = np.random.default_rng(0).normal(0, 0.01, (len(names), 12))
    return write_embeddings(root / to, [f"{root}/photos/{name}" for name in names], np.eye(12)[kinds(names) * 4] + spread, parts=3)


def pictures(root: Path) -> list[str]:
    photos = write_photos(root / "photos")
    return sorted(str(path.relative_to(photos)) for path in photos.rglob("*") if path.is_file() and path.suffix != ".txt")


@pytest.fixture(scope="module")
def root(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos`, one of which is empty and has no embedding, and `embeddings` in another order."""
    home = tmp_path_factory.mktemp("given")
    names = pictures(home)
    (home / "photos/cats/empty.jpg").write_bytes(b"")
    order = np.random.default_rng(1).permutation(len(names))
    embed(home, [names[row] for row in order])
    return home


@pytest.fixture(scope="module")
def done(root: Path) -> dict[str, Artifact]:
    return run(root, max_rejected=0.1)


def keys(done: dict[str, Artifact]) -> dict[int, str]:
    folder = done["embed"].folder
    tables = [folder.read_table(f"vectors/{name}", columns=("id", "key")) for name in folder.names("vectors")]
    return {row: key for table in tables for row, key in zip(table["id"].to_pylist(), table["key"].to_pylist())}


def test_the_vectors_are_the_given_ones(root: Path, done: dict[str, Artifact]) -> None:
    assert done["embed"].facts == {"rows": 61, "rejected": 1, "device": "given", "width": 12}
    (table,) = [done["embed"].folder.read_table("rejected.parquet").to_pylist()]
    assert [(row["key"], row["reason"].startswith("no vector was given, and ")) for row in table] == [("cats/empty.jpg", True)]
    names = keys(done)
    for ids, block in vectors(done["embed"]):
        assert block.dtype == np.float32
        assert (block.argmax(1) == kinds([names[row] for row in ids.tolist()]) * 4).all()


def test_the_clusters_follow_the_given_vectors(done: dict[str, Artifact]) -> None:
    slot_of = open_groups(done["cluster"].folder).slot_of
    names = keys(done)
    told = kinds([names[row] for row in sorted(names)])
    found = slot_of[sorted(names)]
    assert len(set(zip(told.tolist(), found.tolist()))) == 3
    assert sorted(set(found.tolist())) == [0, 1, 2]
    assert (slot_of < 0).sum() == 1


def test_the_centres_are_mean_features_of_the_surrogate(root: Path, done: dict[str, Artifact]) -> None:
    import torch

    groups = open_groups(done["cluster"].folder)
    net = open_surrogate("ssl:small", weights=done["surrogate"].folder, image_size=32, device=torch.device("cpu"))
    assert groups.centers.shape == (3, net.width)
    names, features = keys(done), {}
    for row, name in names.items():
        view = decode_square((root / "photos" / name).read_bytes(), size=net.canvas, limits=Limits())
        with torch.inference_mode():
            features[row] = net.features(torch.from_numpy(view).permute(2, 0, 1)[None].float() / 255)[0].numpy()
    for slot in range(3):
        mean = np.mean([features[row] for row in names if groups.slot_of[row] == slot], 0)
        np.testing.assert_allclose(groups.centers[slot], mean, rtol=1e-3, atol=1e-4)


def test_the_copy_is_complete_and_known_again(root: Path, done: dict[str, Artifact]) -> None:
    assert done["export"].facts["images"] == 60
    assert 0 < done["export"].facts["most_levels"] <= 16
    copy = open_copy(str(root / "out"), name="out")
    assert set(copy.artifacts) == {"export", "index", "cluster", "craft", "embed", "sample", "surrogate"}
    assert copy.artifacts["cluster"].fingerprint == done["cluster"].fingerprint


def test_a_second_run_does_nothing_and_the_copy_can_be_checked(root: Path, done: dict[str, Artifact]) -> None:
    again = run(root, max_rejected=0.1)
    assert {name: artifact.fingerprint for name, artifact in again.items()} == {name: made.fingerprint for name, made in done.items()}
    rerun(reopen(str(root / "out"), resources=LOCAL), until="verify")


def test_embeddings_that_moved_are_the_same_and_others_are_not(root: Path, done: dict[str, Artifact], tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(root / "embeddings")
    assert run(root, max_rejected=0.1, embeddings=str(moved))["craft"].fingerprint == done["craft"].fingerprint
    with pytest.raises(ValueError, match="holds a copy made with another recipe: embeddings"):
        run(root, max_rejected=0.1, embeddings="")


def test_a_method_with_its_own_network_needs_no_surrogate(root: Path) -> None:
    made = run(root, out="own", until="craft", max_rejected=0.1, method="tap", steps=0, batch=0, settings="network=linear,epochs=1,steps=1")
    assert "surrogate" not in made
    assert open_groups(made["cluster"].folder).centers.shape == (3, 12)


def test_an_image_that_can_be_read_and_has_no_vector_ends_the_run_before_it_starts(root: Path, tmp_path: Path) -> None:
    names = pictures(tmp_path)
    embed(tmp_path, names[1:])
    with pytest.raises(
        ValueError, match=r"1 of 60 images can be read and have no vector in --embeddings .* such as 'cats/000\.png'; embed them too"
    ):
        run(tmp_path, max_rejected=0.1)
    assert not list((tmp_path / "out.ray-ue").glob("s*-*")), "neither sample nor surrogate"


@pytest.mark.parametrize("kept", [0, 40], ids=["all", "many"])
def test_embeddings_of_other_images_are_refused_with_counts(kept: int, tmp_path: Path) -> None:
    names = pictures(tmp_path)
    embed(tmp_path, [*names[:kept], *(f"birds/{i}{i % 3}.jpg" for i in range(100, 160))])
    missing = 60 - kept
    with pytest.raises(ValueError, match=rf"{missing} of 60 images have no vector in --embeddings .* such as .*; embed the whole source"):
        run(tmp_path)


def test_vectors_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    bad = np.eye(12)[kinds(names)]
    bad[7, 3] = np.nan
    write_embeddings(tmp_path / "embeddings", names, bad)
    with pytest.raises(ValueError, match=f"the vector of '{names[7]}' is not made of finite numbers"):
        run(tmp_path)


def test_a_cluster_that_crafting_never_sees_is_refused(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    (tmp_path / "photos/extra").mkdir()
    (tmp_path / "photos/extra/999.png").write_bytes(image_bytes(999))
    names.append("extra/999.png")
    far = np.vstack([np.eye(12)[kinds(names[:-1])], np.full((1, 12), 50.0)])
    write_embeddings(tmp_path / "embeddings", names, far)
    place = sorted(names).index("extra/999.png")
    seed = next(seed for seed in range(99) if place not in draw_sample(61, size=10, seed=seed))
    with pytest.raises(ValueError, match=r"1 of 4 clusters have no image among the 10 that crafting sees.*larger --craft-sample"):
        run(tmp_path, clusters=4, craft_sample=10, seed=seed)
