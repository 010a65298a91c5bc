"""The files below a local folder, with what is odd about the way to each: links, circles, pipes. It opens none of them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ray_ue.sources.image_files import kind_of_name

PART = ".ray-ue-part-"  # begins the name of every file that is not finished yet
LINKED, TWICE, NOWHERE = "linked from elsewhere", "linked from within", "links that lead nowhere"
CIRCLE, SPECIAL = "links in a circle", "pipes, sockets or devices"
TRAVELS: Final = ("", LINKED, TWICE)  # what files may be that are as good as others

Entry = tuple[str, int, str]  # relative path, size, and what is odd about the way there: one of the words above, or nothing


def within(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def link_of(root: str, path: str) -> str:
    """Where a link at this path leads: out of the real folder `root`, or to another place within it."""
    return TWICE if within(root, os.path.realpath(path)) else LINKED


def walk(folder: Path, *, root: str, prefix: str, above: tuple[tuple[int, int], ...], way: str) -> Iterator[Entry]:
    """Files below a local folder; linked folders are followed, but not into a folder that we are already inside of.

    `way` is what is odd about the way to the folder.
    """
    stat = folder.stat()
    identity = (stat.st_dev, stat.st_ino)
    if identity in above:
        yield prefix.rstrip("/"), 0, CIRCLE
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PART):
                continue
            odd = link_of(root, entry.path) if entry.is_symlink() else way
            name, kind = prefix + entry.name, _kind(entry)
            if kind == "folder":
                yield from walk(Path(entry.path), root=root, prefix=f"{name}/", above=(*above, identity), way=odd)
            elif kind == "file":
                yield name, entry.stat().st_size, odd
            elif kind == NOWHERE and kind_of_name(entry.name) == "image":
                yield name, 0, odd  # an image of zero bytes: rejected with a reason, not lost
            else:
                yield name, 0, kind


def _kind(entry: os.DirEntry[str]) -> str:
    """`folder`, `file`, or what else is there."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return NOWHERE if entry.is_symlink() and not os.path.exists(entry.path) else SPECIAL
    except OSError:  # a link that comes back to itself
        return CIRCLE
