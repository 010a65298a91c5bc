"""Local copies of objects, so that what is mapped or read often is fetched once a machine.

A copy is found by the object's address and its state (etag, or size and time), so that an object that was written anew is fetched anew.
Copies that nobody used for a week go, and the oldest of those that nobody used for an hour while all are larger than `MOST`.
"""

import hashlib
import os
import posixpath
import secrets
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from fsspec import AbstractFileSystem

MOST = 50 * 2**30  # bytes of all copies
IDLE, OLD = 3600, 7 * 24 * 3600  # seconds since the last use


def fetched(fs: AbstractFileSystem, path: str) -> Path:
    """A local file with the present content of the object at `path`. `FileNotFoundError` if there is none."""
    fs.invalidate_cache()
    key = hashlib.sha256(f"{fs.unstrip_protocol(path)} {fs.ukey(path)}".encode()).hexdigest()[:24]
    home = _home()
    target = home / f"{key}-{posixpath.basename(path)}"
    if target.exists():
        os.utime(target)
        return target
    draft = target.with_name(f"{target.name}.draft-{secrets.token_hex(4)}")
    try:
        fs.get_file(path, str(draft))
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    evict(home)
    return target


def _home() -> Path:
    """The folder of copies, which only this user may write to: a `ValueError` for one of somebody else's."""
    home = Path(tempfile.gettempdir()) / f"ray-ue-cache-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    state = home.lstat()
    if state.st_uid != os.getuid() or state.st_mode & 0o022 or home.is_symlink():
        raise ValueError(f"{home} is not a folder that only you can write to; remove it, or set TMPDIR to another folder")
    return home


def evict(home: Path, *, most: int = MOST) -> None:
    """Remove copies that were not used for long, and the oldest while all are larger than `most`. Open ones stay readable."""
    now, files = time.time(), []
    for file in home.iterdir():
        with suppress(FileNotFoundError):
            state = file.stat()
            files.append((state.st_mtime, state.st_size, file))
    total = sum(size for _, size, _ in files)
    for used, size, file in sorted(files):
        if now - used < IDLE or (now - used < OLD and total <= most):
            break
        file.unlink(missing_ok=True)
        total -= size
