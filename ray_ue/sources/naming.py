"""Names in the copy: safe, unique, independent of the export format; knows strings, not files."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ray_ue.images import EXTENSIONS, kind_of_name, suffix_of


def printable(name: str) -> str:
    """Valid UTF-8: bytes that are no text, as some file systems allow, become `\\xNN`-like escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def safe(name: str) -> str:
    """A relative path that cannot leave its root: no leading slash, no `.` or `..`, no empty part; empty when nothing is left."""
    return "/".join(part for part in printable(name).replace("\0", "").split("/") if part not in ("", ".", ".."))


def parents(name: str) -> Iterable[str]:
    """The folders above a relative path."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def bare(name: str) -> str:
    """The safe path without its image extension; other endings (`v1.2`) belong to the name."""
    name = safe(name) or "unnamed"
    return name.removesuffix(suffix_of(name)) if kind_of_name(name) == "image" else name


def stems(images: Sequence[str], *, others: Iterable[str]) -> list[str]:
    """For each image its path in the copy, without extension: unique, and free whichever of `EXTENSIONS` is added.

    Images that would share a name keep their full one (`a.jpg` + `a.png` give `a.jpg.png` + `a.png.png`), then get `-2`, `-3`, …
    `others` are the paths that the copy holds besides, as written.
    """
    taken = {safe(other) for other in others}
    taken.update(parent for name in [*images, *taken] for parent in parents(safe(name)))
    used: set[str] = set()

    def free(stem: str) -> bool:
        return stem not in used and not any(stem + extension in taken for extension in EXTENSIONS.values())

    short = [bare(name) for name in images]
    count = Counter(short)
    result = [stem if count[stem] == 1 and free(stem) else "" for stem in short]
    used.update(filter(None, result))
    for place in sorted((i for i, stem in enumerate(result) if not stem), key=lambda i: (images[i], i)):
        result[place] = numbered(safe(images[place]) or "unnamed", free=free)
        used.add(result[place])
    return result


def numbered(name: str, *, free: Callable[[str], bool]) -> str:
    """`name`, or the first of `name-2`, `name-3`, … that is free."""
    candidate, number = name, 1
    while not free(candidate):
        number += 1
        candidate = f"{name}-{number}"
    return candidate
