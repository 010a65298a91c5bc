"""The folders in which a local Ray keeps its logs and sockets: ours are marked, and go once nobody uses them. It imports no Ray."""

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

STARTING = "ray-ue-starting-"  # and the number of a process: beside the folders, while a session starts
MARK = "ray-ue.lock"  # in a session's folder; locked for as long as the process that started the session lives


def claim(folder: Path) -> IO[bytes] | None:
    """Mark a session's folder as ours, and hold its lock until the file is closed or this process ends; None where that cannot be."""
    try:
        mark = (folder / MARK).open("wb")
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return mark


def temporary_root() -> Path:
    """Where a local Ray makes its folder `ray`, by Ray's own rule."""
    return Path(os.environ.get("RAY_TMPDIR") or (sys.platform.startswith("linux") and os.environ.get("TMPDIR")) or "/tmp")


@contextmanager
def starting(root: Path) -> Iterator[None]:
    """While a session starts, say so in a file: should this process end before the folder is claimed, the next one removes both.

    A `ValueError` for a place where Ray could write nothing.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        said = f"Ray cannot write its temporary files below {root.parent} ({error.strerror})"
        raise ValueError(f"{said}; set RAY_TMPDIR to a folder that you may write to, then run the same command again") from error
    try:
        mark = (root / f"{STARTING}{os.getpid()}").open("wb")
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield
        return
    with mark:
        yield
        Path(mark.name).unlink(missing_ok=True)  # not after an error: then the folder is there and nobody claims it


def sweep(root: Path) -> int:
    """Remove the folders of our sessions below `root` whose process is gone; returns how many. Those of others stay."""
    removed = 0
    for started in root.glob(f"{STARTING}*"):
        with suppress(OSError), started.open("r+b") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            began = started.stat().st_mtime
            for folder in root.glob(f"session_*_{started.name.removeprefix(STARTING)}"):  # Ray ends the name with the process's number
                if folder.stat().st_uid == os.getuid() and folder.stat().st_mtime >= began and not folder.is_symlink():
                    shutil.rmtree(folder)
                    removed += 1
            started.unlink()
    for folder in root.glob("session_*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / MARK).open("r+b") as mark:  # of folders without a mark, this fails
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                removed += 1
    return removed


def discard(mark: IO[bytes]) -> None:
    """Remove the folder that is marked by this file of ours."""
    shutil.rmtree(Path(mark.name).parent, ignore_errors=True)
    mark.close()
