"""The writing side of a copy: whole files or nothing, never outside its root."""

import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray_ue.sources.naming import safe
from ray_ue.sources.storage import PART, connect, is_local


@dataclass(frozen=True, kw_only=True)
class Target:
    """The output root; `uri` is as `storage.normal` gives it."""

    uri: str

    def _local(self, relative: str) -> Path:
        """Where a file goes on a local disk, with its folder made; a link in the way must not lead out of the copy."""
        root = Path(self.uri)
        folder = (root / relative).parent
        if not folder.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{str(folder)!r} is a link that leaves the copy {self.uri!r}: remove it or write elsewhere")
        folder.mkdir(parents=True, exist_ok=True)
        return root / relative

    @contextmanager
    def staged(self, relative: str) -> Iterator[Path]:
        """A local path to write to; it becomes `relative` when the block ends well and is gone when it does not.

        Object stores would keep a truncated object if a stream were closed by an exception, so they get a finished file.
        """
        assert relative == safe(relative) != "", relative
        if is_local(self.uri):
            goal = self._local(relative)
            part = goal.parent / f"{PART}{uuid.uuid4().hex}"
            try:
                yield part
                part.replace(goal)
            finally:
                part.unlink(missing_ok=True)
            return
        fs, path = connect(self.uri)
        with tempfile.TemporaryDirectory(prefix=PART) as folder:
            yield (part := Path(folder) / "part")
            fs.put_file(str(part), f"{path}/{relative}")

    def put(self, files: Mapping[str, bytes]) -> None:
        """Small files, each whole or not at all; together on an object store."""
        if is_local(self.uri):
            for relative, data in files.items():
                with self.staged(relative) as part:
                    part.write_bytes(data)
            return
        assert all(relative == safe(relative) for relative in files)
        fs, path = connect(self.uri)
        fs.pipe({f"{path}/{relative}": data for relative, data in files.items()})


def sweep(to: str) -> int:
    """Remove what killed writers left under a local copy; gives the count. Nothing else may be writing there."""
    if not is_local(to):
        return 0
    parts = list(Path(to).rglob(f"{PART}*"))
    for part in parts:
        part.unlink(missing_ok=True)
    return len(parts)
