"""Refuses keys and passwords in addresses, since addresses are written next to every copy."""

import os
import re
from pathlib import Path

WORDS = "token|secret|passw|credential|signature|sig|key"
SIGNED = re.compile(rf"[?&;][\w.%-]*(?:{WORDS})[\w.%-]*=", re.IGNORECASE)
PAIRED = ("github", "git")  # their `owner:name@branch` is no password


def split_credentials(address: str) -> tuple[str, str, str]:
    """(scheme with `://`, user and password, rest); the first two are empty for a local path. Keys may hold slashes."""
    scheme, mark, rest = address.rpartition("://")
    host = rest.partition("/")[0]
    split = "@" in host or (":" in host and not host.rpartition(":")[2].isdigit() and "@" in rest)
    if not mark or not split:
        return scheme + mark, "", rest
    user, _, where = (host if "@" in host else rest).rpartition("@")
    return scheme + mark, user, where + (rest.removeprefix(host) if "@" in host else "")


def without_credentials(address: str) -> str:
    """The address without user, password and query: what may be shown."""
    scheme, _, where = split_credentials(address)
    return scheme + (where.partition("?")[0] if scheme else where)


def local_path(text: str | Path) -> Path:
    """An absolute path without `..`; `~` and `~user` are homes where there are such, else names like any other."""
    path = Path(os.path.expanduser(text)).absolute()
    if ".." not in path.parts:
        return path
    last = max(place for place, part in enumerate(path.parts) if part == "..")
    return Path(os.path.realpath(Path(*path.parts[: last + 1])), *path.parts[last + 1 :])


def real(uri: str) -> str:
    """A local place without links and `..` on the way; other addresses as they are."""
    return uri if "://" in uri else os.path.realpath(uri)


def what_is_odd(path: str) -> str:
    """What a local path is, where it is neither a file nor a folder and something lies there: a sentence's end; else nothing."""
    if os.path.isdir(path) or os.path.isfile(path) or not os.path.lexists(path):
        return ""
    return "is a link that leads nowhere, or in a circle" if os.path.islink(path) else "is a pipe, a socket or a device"


def refuse_nowhere(address: str) -> None:
    """A `ValueError` for a store without a bucket: without its slashes it would be a local folder of that name; and for a local path with
    `::`, which file systems read as a chain of addresses, so that all below it would be one place."""
    scheme, mark, where = address.partition("://")
    if "::" in address and (not mark or scheme in ("file", "local")):
        raise ValueError(f"{address!r} has '::' in it, which is read as a chain of addresses; give that folder another name")
    if mark and scheme not in ("file", "local", "memory") and not where.strip("/"):
        raise ValueError(f"{address!r} names no bucket; write for example {scheme}://bucket/photos")


def refuse_secrets(address: str) -> None:
    """A `ValueError` for an address with a password or key in it, which repeats neither."""
    scheme, user, where = split_credentials(address)
    paired = ":" in user and scheme.removesuffix("://").rpartition("::")[2] not in PAIRED
    if scheme and (paired or SIGNED.search(where)):
        raise ValueError(
            f"the address {without_credentials(address)} came with a password, key or token, which would be written next to the copy; "
            "leave it out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or fsspec's FSSPEC_<PROTOCOL>_<NAME>, in the environment of "
            "all processes"
        )
