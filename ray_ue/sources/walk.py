"""The files below a local folder, with what is odd about the way to each: links, circles, pipes. It opens none of them."""

import os
from collections.abc import Iterator
from pathlib import Path

from ray_ue.sources.image_files import kind_of_name

PART = ".ray-ue-part-"  # begins the name of every file that is not finished yet
LINKED, NOWHERE, CIRCLE, SPECIAL = "linked from elsewhere", "links that lead nowhere", "links in a circle", "pipes, sockets or devices"

Entry = tuple[str, int, str]  # relative path, size, and what is odd about the way there: one of the words above, or nothing


def within(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def walk(folder: Path, *, root: str, prefix: str, above: tuple[tuple[int, int], ...], outside: bool) -> Iterator[Entry]:
    """Files below a local folder; linked folders are followed, but not into a folder that we are already inside of."""
    stat = folder.stat()
    identity = (stat.st_dev, stat.st_ino)
    if identity in above:
        yield prefix.rstrip("/"), 0, CIRCLE
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PART):
                continue
            leaves = not within(root, os.path.realpath(entry.path)) if entry.is_symlink() else outside
            name, kind = prefix + entry.name, _kind(entry)
            if kind == "folder":
                yield from walk(Path(entry.path), root=root, prefix=f"{name}/", above=(*above, identity), outside=leaves)
            elif kind == "file":
                yield name, entry.stat().st_size, LINKED if leaves else ""
            elif kind == NOWHERE and kind_of_name(entry.name) == "image":
                yield name, 0, LINKED if leaves else ""  # an image of zero bytes: rejected with a reason, not lost
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
