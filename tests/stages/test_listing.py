"""A source is listed once: the index keeps the listing, and later stages, other processes and the evaluation read it there."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import write_classes

from ray_ue import Resources, evaluate, protect
from ray_ue.sources import open_source
from ray_ue.sources.listing import load_listing, save_listing
from ray_ue.sources.storage import Location
from ray_ue.storage.artifacts import Folder

LOCAL = Resources(workers="local")
QUICK: dict[str, Any] = {"method": "uc", "surrogate": "ssl:small", "clusters": 3, "ssl_steps": 2, "steps": 3, "batch": 12, "image_size": 16}


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are listed from now on, in order."""
    listed: list[str] = []
    entries = Location.entries

    def counted(self: Location, only: tuple[str, ...] = ()) -> list[tuple[str, int, str]]:
        listed.append(Path(self.uri).name)
        return entries(self, only)

    monkeypatch.setattr(Location, "entries", counted)
    return listed


@pytest.mark.ray
def test_protect_and_evaluate_list_each_folder_once(ray_session: None, tmp_path: Path, listings: list[str]) -> None:
    photos, test = write_classes(tmp_path / "photos", range(60)), write_classes(tmp_path / "test", range(60, 90))
    protect(photos, tmp_path / "copy", resources=LOCAL, **QUICK)
    assert listings == ["photos", "copy"], "the source when the run is planned, the copy when it is verified"
    listings.clear()
    evaluate(
        tmp_path / "copy",
        clean=photos,
        test=test,
        resources=LOCAL,
        victims="linear",
        relabels="identity",
        defenses="none",
        epochs=1,
        seeds=1,
    )
    assert sorted(listings) == ["copy", "photos", "test"]


def test_a_listed_source_needs_no_second_listing_in_another_process(tmp_path: Path) -> None:
    photos = write_classes(tmp_path / "photos", range(9))
    (photos / "captions.txt").write_text("cats, dogs and owls")
    source, index = open_source(str(photos)), Folder.at(str(tmp_path / "index"))
    source.save_listing(index)
    listed = pickle.loads(pickle.dumps(type(source)(root=source.root, address=source.address, listing=index)))  # noqa: S301
    shutil.rmtree(photos)
    assert listed.shards() == source.shards()
    assert listed.entries is None, "a large listing does not travel with every task"


def test_names_that_are_no_unicode_survive_the_listing(tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    photos = write_classes(tmp_path / "photos", range(3), flat=True)
    (photos / "000.png").rename(photos / name)
    shards, folder = open_source(str(photos)).shards(), Folder.at(str(tmp_path / "index"))
    save_listing(shards, folder)
    assert load_listing(folder) == shards
    assert name in [file.path for shard in shards for file in shard.files]
