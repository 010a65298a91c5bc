"""One run at a time writes a folder: a lock that ends with the process that holds it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ray_ue.storage.artifacts import LOCK, Folder


@contextmanager
def alone(folder: Folder, *, what: str) -> Iterator[None]:
    """Hold a local folder's lock; a `ValueError` names `what` another run writes there. Nothing guards an object store."""
    if not folder.local:
        yield
        return
    with _lock(folder).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another run is writing {what} at this moment; wait for its end, or stop it") from None
        except OSError:  # a file system without locks
            pass
        yield


@contextmanager
def one_after_another(folder: Folder) -> Iterator[None]:
    """Wait until nobody else holds a local folder's lock, and hold it. Nothing guards an object store, nor a file system without locks."""
    if not folder.local:
        yield
        return
    path = _lock(folder)
    with path.open("a") as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        path.unlink(missing_ok=True)  # whoever waits for it finds what was to be done


def _lock(folder: Folder) -> Path:
    Path(folder.uri).mkdir(parents=True, exist_ok=True)
    return Path(folder.uri) / LOCK
