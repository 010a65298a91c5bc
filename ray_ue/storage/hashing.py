"""The sha256 of files."""

import hashlib
from functools import lru_cache
from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """The hex digest, computed once per process as long as the file stays as it is."""
    facts = path.stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
