"""The pictures that checks work on: crops of the demo's photographs, or what a folder, Parquet files or a `.npz` of these hold."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from ray_ue.images.codec import Limits, Rejected, decode_square
from ray_ue.sources import open_source

SIDE = 32
MOST = 60_000  # pictures that are read
TEST = 6  # one of so many is a test picture, where the source has no test files


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Pictures of one side with labels from 0 up, to train on and to test on."""

    name: str
    pixels: UInt8[np.ndarray, "n s s 3"]
    labels: Int[np.ndarray, " n"]
    test_pixels: UInt8[np.ndarray, "m s s 3"]
    test_labels: Int[np.ndarray, " m"]

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def rows(self, count: int) -> tuple[UInt8[np.ndarray, "_ s s 3"], Int[np.ndarray, " _"]]:
        """`count` training pictures and their labels, over and over where there are fewer."""
        places = np.arange(count) % len(self.pixels)
        return self.pixels[places], self.labels[places]

    def save(self, path: Path) -> None:
        np.savez_compressed(
            path,
            name=np.array(self.name),
            pixels=self.pixels,
            labels=self.labels,
            test_pixels=self.test_pixels,
            test_labels=self.test_labels,
        )


def open_pictures(place: str) -> Pictures:
    """The pictures at `place`, or the demo's crops where it is empty; shuffled once, the same in every run."""
    if not place:
        return of_demo()
    if place.endswith(".npz"):
        with np.load(place, allow_pickle=False) as saved:
            return Pictures(name=str(saved["name"]), **{name: saved[name] for name in saved.files if name != "name"})
    return read_source(place)


def of_demo() -> Pictures:
    from ray_ue.cli.demo import LEFT, TEST, TRAIN, as_seen, cut_crops

    pixels, labels = cut_crops(count=TRAIN, begin=0, end=LEFT, seed=0)
    test, test_labels = cut_crops(count=TEST, begin=LEFT, end=1, seed=1)
    order = np.random.default_rng(0).permutation(len(labels))
    crops = {"pixels": as_seen(pixels)[order], "labels": labels[order], "test_pixels": as_seen(test), "test_labels": test_labels}
    return Pictures(name="crops of ten photographs", **crops)


def read_source(place: str) -> Pictures:
    """A labelled source of any format; files whose names begin with `test` hold the test pictures, else one picture in `TEST` is one."""
    source = open_source(place)
    pixels, labels, tests = [], [], []
    for shard in source.shards():
        rows = source.rows(shard)
        named = [Path(key).name.startswith("test") or Path(key).parts[0].startswith("test") for key in rows["key"].to_pylist()]
        for data, label, test in zip(source.read(shard, rows), rows["label"].to_pylist(), named):
            if label is None or label < 0 or len(pixels) == MOST:
                continue
            try:
                pixels.append(decode_square(data, size=SIDE, limits=Limits()))
            except Rejected:
                continue
            labels.append(label)
            tests.append(test)
    if not pixels:
        raise ValueError(f"{place} holds no labelled picture that can be read; name a folder per class, or Parquet files with labels")
    order = np.random.default_rng(0).permutation(len(labels))
    held = np.array(tests) if any(tests) else order % TEST == 0
    all_pixels, numbers = np.stack(pixels), np.unique(np.array(labels), return_inverse=True)[1]
    train, test = (order[kept[order]] for kept in (~held, held))
    return Pictures(name=place, pixels=all_pixels[train], labels=numbers[train], test_pixels=all_pixels[test], test_labels=numbers[test])
