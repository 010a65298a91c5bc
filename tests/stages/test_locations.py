"""Places: every image of a copy is found by its name, and what is missing, doubled or foreign is told."""

from pathlib import Path

import numpy as np
import pytest
from conftest import image_bytes, write_photos

from ray_ue.sources import open_source
from ray_ue.stages.protect.locations import Locations

LAYOUTS = ["folder", "webdataset"]


@pytest.fixture(params=LAYOUTS)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Locations:
    if request.param == "folder":
        return Locations.of(open_source(str(write_photos(tmp_path / "photos"))), threads=3)
    import tarfile

    for part in range(4):
        with tarfile.open(tmp_path / f"{part}.tar", "w") as tar:
            for number in range(5):
                (tmp_path / "one.png").write_bytes(image_bytes(number))
                tar.add(tmp_path / "one.png", arcname=f"{5 * part + number:04d}.png")
            (tmp_path / "one.png").unlink()
    return Locations.of(open_source(str(tmp_path)), threads=3)


def listing(places: Locations) -> dict[str, tuple]:
    """As the source tells it, row by row."""
    lines = ((shard.number, row, line) for shard in places.shards for row, line in enumerate(places.copy.rows(shard).to_pylist()))
    return {line["key"]: (number, row, line["offset"], line["size"]) for number, row, line in lines}


def test_every_name_leads_to_its_place_and_nothing_is_left(places: Locations) -> None:
    wanted = listing(places)
    names = sorted(wanted, reverse=True)
    for half in (names[::2], names[1::2]):
        found, missing, again = places.claim(half)
        told = places.at[found][["shard", "row", "offset", "size"]].tolist()
        assert told == [wanted[name] for name in half]
        assert (missing, again) == ([], [])
    assert places.unclaimed() == (0, [])


def test_what_is_missing_doubled_or_foreign_is_told(places: Locations) -> None:
    names = sorted(listing(places))
    found, missing, again = places.claim(["nowhere", names[3], "", names[3], names[5]])
    assert (len(found), missing, again) == (3, ["nowhere", ""], [names[3]])
    assert places.claim([names[5]])[2] == [names[5]]
    count, some = places.unclaimed()
    assert count == len(names) - 2
    assert set(some) < set(names) - {names[3], names[5]}
    assert len(some) == 5


def test_a_place_takes_48_bytes(places: Locations) -> None:
    assert places.names.itemsize + places.at.itemsize == 48


def test_an_empty_copy_has_no_places(places: Locations) -> None:
    none = Locations(copy=places.copy, shards=[], names=places.names[:0], at=places.at[:0], claimed=np.zeros(0, bool))
    assert none.claim(["a"])[1] == ["a"]
    assert none.unclaimed() == (0, [])
