"""The folders in which a local Ray keeps its logs and sockets: ours are marked, and go once nobody uses them. It imports no Ray."""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO

MARK = "ray-ue.lock"  # in a session's folder; locked for as long as the process that started the session lives


def claim(folder: Path) -> IO[bytes] | None:
    """Mark a session's folder as ours, and hold its lock until the file is closed or this process ends; None where that cannot be."""
    try:
        mark = (folder / MARK).open("wb")
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return mark


def sweep(root: Path) -> int:
    """Remove the folders of our sessions below `root` whose process is gone; returns how many. Those of others stay."""
    removed = 0
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
