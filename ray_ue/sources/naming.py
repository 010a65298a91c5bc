"""Names in the copy: safe, unique, independent of the export format."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ray_ue.sources.image_files import EXTENSIONS, kind_of_name, suffix_of

MOST = 255  # bytes of one part of a path, on every file system that counts
SHOWN = 3  # names that stand for many
ENDING = max(map(len, EXTENSIONS.values()))


def printable(name: str) -> str:
    """Valid UTF-8: bytes that are no text, as some file systems allow, become `\\xNN`-like escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def one_line(name: str) -> str:
    """The name in a list for people: what would end the line, or steer a terminal, is written as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in printable(name))


def readable(name: str) -> str:
    """The name as its owner reads it: bytes that are no UTF-8 are what Western European systems wrote before there was any."""
    try:
        data = os.fsencode(name)
    except UnicodeEncodeError:  # a member of a tar that this system could not name
        return printable(name)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "backslashreplace")


def composed(name: str) -> str:
    """The name with its accents as most systems write them: a Macintosh keeps letter and accent apart."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """What two names share that some file systems take for one: they differ in case, or in how accents are composed."""
    return composed(name).casefold()


def safe(name: str) -> str:
    """A relative path that cannot leave its root: no leading slash, no `.` or `..`, no empty part; empty when nothing is left."""
    return "/".join(shorten_part(part, most=MOST) for part in printable(name).replace("\0", "").split("/") if part not in ("", ".", ".."))


def shorten_part(part: str, *, most: int) -> str:
    """A part of a path in at most `most` bytes: what is longer loses its end to a hash of the whole, and keeps its extension."""
    if len(part.encode()) <= most:
        return part
    suffix = suffix_of(part) if len(suffix_of(part).encode()) < 16 else ""
    end = f"-{hashlib.sha256(part.encode()).hexdigest()[:12]}{suffix}"
    return part.encode()[: most - len(end.encode())].decode("utf-8", "ignore") + end


def parents(name: str) -> Iterable[str]:
    """The folders above a relative path."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def without_extension(name: str) -> str:
    """The safe path without its image extension; other endings (`v1.2`) belong to the name."""
    name = safe(name) or "unnamed"
    return shorten_last_part(name.removesuffix(suffix_of(name)) if kind_of_name(name) == "image" else name, room=ENDING)


def shorten_last_part(name: str, *, room: int) -> str:
    """The path with that many bytes left in its last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + shorten_part(base, most=MOST - room)


def stems(images: Sequence[str], *, others: Sequence[str]) -> list[str]:
    """For each image its path in the copy, without extension: unique, and free whichever of `EXTENSIONS` is added.

    Images that would share a name keep their full one (`a.jpg` + `a.png` give `a.jpg.png` + `a.png.png`), then get `-2`, `-3`, …; names
    are shared that differ in case alone, or in how accents are composed. `others` are the paths that the copy holds besides, as written.
    """
    taken = {folded(safe(other)) for other in others}
    endings = tuple(EXTENSIONS.values())  # no other folder is ever in the way
    above = (parent for name in [*images, *others] for parent in parents(safe(name)) if parent.endswith(endings))
    taken.update(map(folded, above))
    used: set[str] = set()

    def free(stem: str) -> bool:
        return folded(stem) not in used and not any(folded(stem) + extension in taken for extension in EXTENSIONS.values())

    short = [without_extension(name) for name in images]
    count = Counter(map(folded, short))
    result = [stem if count[folded(stem)] == 1 and free(stem) else "" for stem in short]
    used.update(folded(stem) for stem in result if stem)
    repeated: Counter[str] = Counter()
    for place in sorted((i for i, stem in enumerate(result) if not stem), key=lambda i: (images[i], i)):
        name = shorten_last_part(safe(images[place]) or "unnamed", room=ENDING + len("-1234567"))
        result[place] = first_free_name(name, free=free, since=repeated[folded(name)])
        repeated[folded(name)] += 1
        used.add(folded(result[place]))
    return result


def first_free_name(name: str, *, free: Callable[[str], bool], since: int) -> str:
    """`name`, or the first of `name-2`, `name-3`, … that is free, when `since` of them have been given away before."""
    number = since + 1
    while not free(candidate := name if number == 1 else f"{name}-{number}"):
        number += 1
    return candidate


def group(names: Sequence[str], *, shown: int = SHOWN) -> dict:
    """A number of names, of which the first few stand for all: what a manifest keeps."""
    return {"count": len(names), "some": [printable(name) for name in names[:shown]]}


def some(names: Mapping[str, Any], *, between: str = ", ") -> str:
    """The first few names of a group, on one line."""
    return between.join([*names["some"], *(["…"] if names["count"] > len(names["some"]) else [])])
