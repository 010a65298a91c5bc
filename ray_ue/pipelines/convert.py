"""`convert`: a copy as one file, or one folder of numbered pictures, which other people's evaluation code reads."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ray_ue.images.codec import Limits, Rejected, decode, square_view
from ray_ue.progress import Progress, counted
from ray_ue.registry import pick
from ray_ue.sources import Source, open_source
from ray_ue.storage.addresses import local_path
from ray_ue.types import Pixels

NO_LABEL = -1

Writer = Callable[[Source, Path, int], tuple[int, ...]]  # returns the shape N h w … of what it wrote


def convert(copy: str | Path, target: str | Path, *, size: int = 0, format: str = "auto") -> str:
    """Write the images of a copy to `target`, in the order of its rows; returns what was written, for people.

    A name that ends in `.pt` gets a dict of tensors `data` (float32 `N 3 h w` in [0, 1]) and `labels` (int64 `N`), one in `.npz` the arrays
    `data` (uint8 `N h w 3`) and `labels`, any other a folder of `0.png`, `1.png`, …. All images must have one size; `size` makes them
    squares of that side. A `ValueError` for an image that cannot be read, since leaving it out would move the others.
    """
    source, place, write = plan(copy, target, size=size, format=format)
    draft = place.with_name(f".draft-{place.name}")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        shape = write(source, draft, size)
        draft.replace(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        draft.unlink(missing_ok=True)
    return f"{counted(shape[0], 'image')} of {shape[2]}x{shape[1]} in {place}"


def plan(copy: str | Path, target: str | Path, *, size: int, format: str) -> tuple[Source, Path, Writer]:
    """What is read, where it is written and how; a `ValueError` for what can be found wrong without reading an image."""
    if size < 0:
        raise ValueError(f"--size is a number of pixels, got {size}; 0 keeps the size of the images")
    source, place = open_source(str(copy), format=format), local_path(target)
    if Path(os.path.realpath(place)).is_relative_to(os.path.realpath(source.root)):
        raise ValueError(f"{place} lies in {source.root} and would become a part of that copy; name another place")
    if place.exists():
        raise ValueError(f"{place} is there already; name a new file or folder")
    write = pick(WRITERS, place.suffix, what="ending (none for a folder of PNG files)") if place.suffix else _write_pictures
    return source, place, write


def _read(source: Source, size: int) -> Iterator[tuple[Pixels, int]]:
    """(pixels, label) of every row, all of one size; NO_LABEL where there is no label."""
    limits, seen = Limits(), None
    progress = Progress(stage="convert", total=sum(len(source.rows(shard)) for shard in source.shards()))
    for shard in source.shards():
        rows = source.rows(shard)
        for key, label, data in zip(rows["key"].to_pylist(), rows["label"].to_pylist(), source.read(shard, rows), strict=True):
            try:
                rgb = decode(data, limits=limits).rgb
            except Rejected as error:
                raise ValueError(
                    f"{key} cannot be read ({error}), and without it the images after it would move; mend or remove it"
                ) from error
            rgb = square_view(rgb, size=size) if size else rgb
            if seen is not None and rgb.shape != seen:
                raise ValueError(
                    f"{key} has {rgb.shape[1]}x{rgb.shape[0]} pixels, those before it {seen[1]}x{seen[0]}; "
                    "--size 32 makes all of them squares"
                )
            seen = rgb.shape
            yield rgb, NO_LABEL if label is None else int(label)
            progress.add(1)
    progress.close()


def _collect(source: Source, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All pixels `N h w 3` and labels."""
    pixels, labels = zip(*_read(source, size), strict=True)
    if NO_LABEL in labels:
        raise ValueError(f"{source.address} has images without labels, which such a file must have; a folder of PNG files needs none")
    return np.stack(pixels), np.array(labels, np.int64)


def _write_tensors(source: Source, path: Path, size: int) -> tuple[int, ...]:
    pixels, labels = _collect(source, size)
    data = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)
    torch.save({"data": data, "labels": torch.from_numpy(labels)}, path)
    return pixels.shape


def _write_arrays(source: Source, path: Path, size: int) -> tuple[int, ...]:
    pixels, labels = _collect(source, size)
    with path.open("wb") as file:
        np.savez_compressed(file, data=pixels, labels=labels)
    return pixels.shape


def _write_pictures(source: Source, folder: Path, size: int) -> tuple[int, ...]:
    folder.mkdir()
    count, shape = 0, ()
    for rgb, _ in _read(source, size):
        Image.fromarray(rgb).save(folder / f"{count}.png")
        count, shape = count + 1, rgb.shape
    return (count, *shape)


WRITERS: dict[str, Writer] = {".pt": _write_tensors, ".npz": _write_arrays}
