"""The members of one tar file, from headers alone."""

import posixpath
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ray_ue.sources.image_files import kind_of_name, looks_like_image
from ray_ue.sources.naming import printable, safe
from ray_ue.sources.sidecars import is_hidden
from ray_ue.sources.storage import Stream

HEAD = 32  # bytes: enough for a magic number and for an integer
MOST_NAME = 4096  # bytes of a member's path: no system unpacks a longer one
MOST_LINKS = 8  # a longer chain of links is a cycle or a joke


@dataclass(frozen=True, kw_only=True)
class Member:
    """`key` is the safe name, numbered `#2`, `#3`, … when repeated. A link to a file inside the tar stands for that file's data.

    role "image" is a row; "lost" is a row without data (a link that leads nowhere, a device), so that leaving it out is reported;
    "hidden" is what systems and programs have put there: a Macintosh's resource forks (._a.png), and what is no image of the kind
    that `sidecars.is_hidden` names. It goes into no copy.
    """

    info: tarfile.TarInfo
    key: str
    role: Literal["image", "lost", "other", "folder", "hidden"]
    offset: int
    size: int
    head: bytes  # first bytes, read only where name or role asks for them


def members(file: Stream, *, shard: str) -> list[Member]:
    """All members in order; a `ValueError` names a shard that is damaged, also after its first member."""
    infos, heads = _headers(file, shard=shard)
    by_name = {info.name.rstrip("/"): info for info in infos}  # of equal names the last one counts, as when unpacking
    names: Counter[str] = Counter()
    result: list[Member] = []
    for info in infos:
        name = safe(info.name) or "unnamed"
        names[name] += 1
        key = name if names[name] == 1 else f"{name}#{names[name]}"
        data = _data_of(info, by_name)
        if info.isdir():
            result.append(Member(info=info, key=key, role="folder", offset=0, size=0, head=b""))
        elif data is None:
            result.append(Member(info=info, key=key, role="lost", offset=0, size=0, head=b""))
        else:
            head = heads.get(data.offset_data, b"")
            role = "image" if _is_image(info, data, head=head) else "other"
            if is_hidden(name) and (role == "other" or posixpath.basename(name).startswith("._")):
                role = "hidden"
            result.append(Member(info=info, key=key, role=role, offset=data.offset_data, size=data.size, head=head))
    return result


def _headers(file: Stream, *, shard: str) -> tuple[list[tarfile.TarInfo], dict[int, bytes]]:
    """All headers, and the first bytes by offset of members that are named neither image nor other, or hold a label.

    In one pass forward: going back would cost a request each on an object store.
    """
    infos: list[tarfile.TarInfo] = []
    heads: dict[int, bytes] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:", errorlevel=1) as tar:
            for info in tar:
                refuse_header(info)
                infos.append(info)
                if info.isreg() and (kind_of_name(info.name) == "unknown" or sample_of(info.name)[1] == "cls"):
                    file.seek(info.offset_data)
                    heads[info.offset_data] = file.read(min(HEAD, info.size))
            end = tar.offset
    except (tarfile.TarError, EOFError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{shard} is not a plain tar file, or is damaged: {error}") from error
    file.seek(end)
    if any(file.read(tarfile.BLOCKSIZE)):  # tarfile takes a broken header in the middle for the end
        raise ValueError(f"{shard} is damaged: there is no tar header at byte {end}, after {len(infos)} members")
    return infos, heads


def refuse_header(info: tarfile.TarInfo) -> None:
    """A `ValueError` for what `tarfile` believes and nobody writes; a negative size would make it read one header forever."""
    if info.size < 0 or info.offset_data < 0:
        raise ValueError(f"a member of {info.size} bytes")
    if len(info.name) > MOST_NAME or len(info.linkname) > MOST_NAME:
        raise ValueError(f"a name of {max(len(info.name), len(info.linkname)):,} characters, {MOST_NAME:,} are the most")


def _data_of(info: tarfile.TarInfo, by_name: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    """The member that holds the data: itself, or where its links lead inside the tar; None if there is none."""
    for _ in range(MOST_LINKS):
        if info.isreg():
            return None if info.issparse() else info
        if not (info.issym() or info.islnk()):
            return None
        goal = _resolve_link(info.name.rpartition("/")[0], info.linkname) if info.issym() else info.linkname.rstrip("/")
        if goal not in by_name or by_name[goal] is info:
            return None
        info = by_name[goal]
    return None


def _resolve_link(folder: str, link: str) -> str:
    """Where a symbolic link in `folder` points; empty when that is outside."""
    parts = folder.split("/") if folder else []
    for part in link.split("/"):
        if part == ".." and not parts:
            return ""
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "" if link.startswith("/") else "/".join(parts)


def _is_image(info: tarfile.TarInfo, data: tarfile.TarInfo, *, head: bytes) -> bool:
    kinds = {kind_of_name(info.name), kind_of_name(data.name)}
    return "image" in kinds or ("unknown" in kinds and looks_like_image(head))


def labels(listed: Sequence[Member]) -> list[int | None]:
    """For each member the integer in the `.cls` of its sample: what shares its name up to the first dot."""
    label_of: dict[str, int] = {}
    for member in listed:
        sample, ending = sample_of(member.key)
        text = member.head.decode("ascii", "replace").strip()
        if ending == "cls" and member.size <= HEAD and text.removeprefix("-").isdecimal():
            label_of[sample] = int(text)
    return [label_of.get(sample_of(member.key)[0]) for member in listed]


def sample_of(name: str) -> tuple[str, str]:
    """WebDataset's split: `a/b.seg.png` is sample `a/b`, ending `seg.png`."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return printable(folder + slash + stem), ending.partition("#")[0].lower()
