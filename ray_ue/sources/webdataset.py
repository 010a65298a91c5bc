"""WebDataset: tar files of samples, each image a member."""

import io
import math
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import pyarrow as pa

from ray_ue.sources.base import ROW_SCHEMA, Change, Item, Shard, Written, match_replies
from ray_ue.sources.image_files import suffix_of
from ray_ue.sources.members import Member, labels, members
from ray_ue.sources.naming import printable, readable, safe, stems
from ray_ue.sources.packed import Packed
from ray_ue.sources.storage import Stream
from ray_ue.sources.target import Target

ROWS = ("image", "lost")
LOOKED_INTO = 8  # shards, for what they hold besides images


@final
@dataclass(frozen=True, kw_only=True)
class WebDataset(Packed):
    """Keys are `shard.tar/member`; the label is the integer in the sample's `.cls`."""

    format: ClassVar[str] = "webdataset"
    identity: ClassVar[str] = "WebDataset"
    suffix: ClassVar[str] = ".tar"

    def class_names(self) -> list[str]:
        return []

    def unchanged(self) -> list[str]:
        found: set[str] = set()
        for shard in [shard for shard in self.shards() if not shard.files][:LOOKED_INTO]:
            with self.place.open(shard.path) as file:
                found |= {suffix_of(m.info.name) or m.info.name for m in members(file, shard=shard.path) if m.role == "other"}
        return sorted(found)

    def pack_rows(self, shard: Shard) -> pa.Table:
        with self.place.open(shard.path) as file:
            listed = members(file, shard=shard.path)
            pairs = [(m, label) for m, label in zip(listed, labels(listed), strict=True) if m.role in ROWS]
        rows = [{"key": _key(shard, m), "label": label, "offset": m.offset, "size": m.size} for m, label in pairs]
        return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)

    def pack_copy(self, shard: Shard, *, target: Target, extension: str, change: Change) -> Iterator[Written]:
        # two handles: `change` may draw images from another thread
        with (
            self.place.on_disk(shard.path) as path,
            path.open("rb") as file,
            path.open("rb") as images,
            target.staged(safe(shard.path)) as part,
            tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as out,
        ):
            listed = members(file, shard=shard.path)
            rows = [m for m in listed if m.role in ROWS]
            others = [readable(m.info.name) for m in listed if m.role not in ROWS]
            goals = iter(stems([readable(m.info.name) for m in rows], others=others))
            replies = match_replies(_items(images, rows, shard=shard), change)
            for member in listed:
                if member.role == "hidden":
                    continue
                if member.role not in ROWS:
                    _copy_member(out, member, file)
                    continue
                (key, reply), goal = next(replies), next(goals) + extension
                if reply is not None:
                    _add_image(out, member, goal, reply)
                    yield Written.of(key, name=f"{safe(shard.path)}/{goal}", data=reply)
            assert next(replies, None) is None


def _key(shard: Shard, member: Member) -> str:
    return f"{safe(shard.path)}/{member.key}"


def _items(file: Stream, rows: list[Member], *, shard: Shard) -> Iterator[Item]:
    for member in rows:
        file.seek(member.offset)
        yield Item(key=_key(shard, member), data=file.read(member.size))


def _header(member: Member, *, name: str, size: int) -> tarfile.TarInfo:
    """The member's header for other data: time, mode and owner stay, a link becomes the file it stood for."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, member.info.mode
    info.mtime = member.info.mtime if math.isfinite(member.info.mtime) else 0
    info.uid, info.gid, info.uname, info.gname = member.info.uid, member.info.gid, member.info.uname, member.info.gname
    info.type = tarfile.DIRTYPE if member.role == "folder" else tarfile.REGTYPE
    about_data = ("path", "linkpath", "size", "mtime", "uid", "gid", "uname", "gname", "hdrcharset")
    kept = {k: v for k, v in member.info.pax_headers.items() if k not in about_data and not k.startswith("GNU.sparse")}
    info.pax_headers = {printable(k): printable(v) for k, v in kept.items()}  # a damaged header can hold what is no text
    return info


def _copy_member(out: tarfile.TarFile, member: Member, file: Stream) -> None:
    """Copy a member as it is, except that its name cannot leave the folder it is unpacked in."""
    file.seek(member.offset)
    out.addfile(_header(member, name=safe(readable(member.info.name)) or ".", size=member.size), file if member.size else None)


def _add_image(out: tarfile.TarFile, member: Member, name: str, data: bytes) -> None:
    out.addfile(_header(member, name=name, size=len(data)), io.BytesIO(data))
