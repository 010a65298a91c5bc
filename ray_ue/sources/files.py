"""Loose files: packs a listing into shards, reads and copies them."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from ray_ue.sources.base import ROW_SCHEMA, Change, File, Item, Shard, Written, match_replies
from ray_ue.sources.image_files import EXTENSIONS, kind_of_name, looks_like_image
from ray_ue.sources.naming import first_free_name, folded, printable, readable, safe, stems
from ray_ue.sources.storage import AT_ONCE, Location, batches, is_local
from ray_ue.sources.target import Target

FILES_PER_SHARD = 256

# From a file that is no image, and the extension of the images in the copy, to what the copy holds instead; None: the same.
Replacement = Callable[[File, str], bytes | None]


def images_among(place: Location, names: Sequence[str]) -> list[bool]:
    """Which files are images: by extension, and where that says nothing by their first bytes."""
    kinds = [kind_of_name(name) for name in names]
    heads = place.heads(name for name, kind in zip(names, kinds, strict=True) if kind == "unknown")
    return [looks_like_image(next(heads)) if kind == "unknown" else kind == "image" for kind in kinds]


def first_folder(path: str) -> str:
    return path.partition("/")[0] if "/" in path else ""


def classes(names: Sequence[str], are_images: Sequence[bool]) -> list[str]:
    """The first-level folders that hold images, sorted."""
    return sorted({first_folder(name) for name, is_image in zip(names, are_images, strict=True) if is_image} - {""})


def pack(
    place: Location, listing: Sequence[tuple[str, int]], *, first: int, labelled: bool, published: Sequence[tuple[str, str]] = ()
) -> list[Shard]:
    """The files of a listing as shards numbered from `first`; images get the label of their first-level folder if `labelled`.

    An image that is `published` already keeps its name there, and no other one takes it.
    """
    names = [name for name, _ in listing]
    are_images = images_among(place, names)
    label_of = {name: label for label, name in enumerate(classes(names, are_images))} if labelled else {}
    images = [name for name, is_image in zip(names, are_images, strict=True) if is_image]
    others = [readable(name) for name, is_image in zip(names, are_images, strict=True) if not is_image]
    names_before = dict(published)
    kept = {name: names_before[printable(name)].rpartition(".")[0] for name in images if printable(name) in names_before}
    taken_before = [name for key, name in published if key not in {printable(image) for image in kept}]
    fresh = [name for name in images if name not in kept]
    goal_of = kept | dict(zip(fresh, stems([readable(name) for name in fresh], others=[*others, *taken_before, *_as_written(kept)])))
    goals = iter([goal_of[name] for name in images])
    taken: set[str] = set()
    files: list[File] = []
    for (name, size), is_image in zip(listing, are_images, strict=True):
        goal = next(goals) if is_image else first_free_name(safe(readable(name)), free=lambda one: folded(one) not in taken, since=0)
        taken.update(() if is_image else (folded(goal),))
        label = label_of.get(first_folder(name), -1) if is_image else -1
        files.append(File(path=name, size=size, is_image=is_image, goal=goal, label=label))
    runs = batches(iter(files), size=FILES_PER_SHARD)
    return [
        Shard(number=first + i, path=f"files-{i:05d}", size=sum(file.size for file in run), files=tuple(run)) for i, run in enumerate(runs)
    ]


def _as_written(kept: Mapping[str, str]) -> list[str]:
    return [stem + extension for stem in kept.values() for extension in EXTENSIONS.values()]


def rows(shard: Shard) -> pa.Table:
    """The images of a shard; `offset` is the place of the file in it."""
    images = [(i, file) for i, file in enumerate(shard.files) if file.is_image]
    columns = {
        "key": [printable(file.path) for _, file in images],
        "label": [None if file.label < 0 else file.label for _, file in images],
        "offset": [i for i, _ in images],
        "size": [file.size for _, file in images],
    }
    return pa.table(columns, schema=ROW_SCHEMA)


def read(place: Location, files: Sequence[File]) -> Iterator[bytes]:
    """Their bytes in order; a file of size 0 is not opened, as it may be a broken link."""
    fetched = place.fetch(file.path for file in files if file.size)
    for file in files:
        yield next(fetched) if file.size else b""


def rewrite(
    place: Location, shard: Shard, *, target: Target, extension: str, change: Change, replacement: Replacement
) -> Iterator[Written]:
    """The images of a shard through `change`, then its other files: as `replacement` gives them, or unchanged where it gives none."""
    images = [file for file in shard.files if file.is_image]
    goals = {printable(file.path): file.goal + extension for file in images}
    data = zip(images, read(place, images), strict=True)
    replies = match_replies((Item(key=printable(file.path), data=written) for file, written in data), change)
    kept = ((key, reply) for key, reply in replies if reply is not None)
    for batch in batches(kept, size=1 if is_local(target.uri) else AT_ONCE):
        target.put({goals[key]: reply for key, reply in batch})
        yield from (Written.of(key, name=goals[key], data=reply) for key, reply in batch)
    for file in shard.files:
        if not file.is_image:
            data = replacement(file, extension)
            if data is None:
                yield copy(place, file, target=target)
            else:
                target.put({file.goal: data})
                yield Written.of("", name=file.goal, data=data)


def copy(place: Location, file: File, *, target: Target) -> Written:
    """A file that is no image, streamed."""
    with target.staged(file.goal) as part:
        with place.open(file.path) as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink, 2**20)
        with part.open("rb") as copied:
            digest = hashlib.file_digest(copied, "sha256").hexdigest()
        return Written(key="", name=file.goal, sha256=digest, size=part.stat().st_size)
