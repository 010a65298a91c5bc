"""A source whose images are packed into files of one kind, with loose files next to them."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from ray_ue.sources import files
from ray_ue.sources.base import Change, Shard, Source, Written
from ray_ue.sources.target import Target


@dataclass(frozen=True, kw_only=True)
class Packed(Source):
    """Files ending in `suffix` are shards. Other files are copied too, and an image among them is a row without label."""

    suffix: ClassVar[str]

    def takes(self, name: str) -> bool:
        return name.lower().endswith(self.suffix) or super().takes(name)

    def _list_shards(self) -> list[Shard]:
        listing = self.files()
        packs = [(name, size) for name, size in listing if name.lower().endswith(self.suffix)]
        if not packs and not self.generation:  # loose pictures may join a copy of packed ones
            raise ValueError(f"there is no {self.suffix} file in {self.root!r}, only {len(listing)} other files")
        loose = [(name, size) for name, size in listing if not name.lower().endswith(self.suffix)]
        shards = [Shard(number=i, path=name, size=size) for i, (name, size) in enumerate(packs)]
        return shards + files.pack(self.place, loose, first=len(shards), labelled=False, published=self.published)

    def first_pack(self) -> Shard | None:
        """The first packed file, whose schema stands for all; None where only loose pictures join a copy."""
        return next((shard for shard in self.shards() if not shard.files), None)

    def rows(self, shard: Shard) -> pa.Table:
        return files.rows(shard) if shard.files else self.pack_rows(shard)

    def read(self, shard: Shard, rows: pa.Table) -> Iterator[bytes]:
        offsets = rows["offset"].to_pylist()
        return files.read(self.place, [shard.files[i] for i in offsets]) if shard.files else self.pack_read(shard, rows)

    def _copy(self, shard: Shard, *, target: Target, extension: str, change: Change) -> Iterator[Written]:
        if shard.files:
            return files.rewrite(self.place, shard, target=target, extension=extension, change=change, replacement=self.replacement)
        return self.pack_copy(shard, target=target, extension=extension, change=change)

    @abstractmethod
    def pack_rows(self, shard: Shard) -> pa.Table: ...

    def pack_read(self, shard: Shard, rows: pa.Table) -> Iterator[bytes]:
        """Where the offset of a row is the place of its bytes in the file."""
        with self.place.open(shard.path) as file:
            for offset, size in zip(rows["offset"].to_pylist(), rows["size"].to_pylist(), strict=True):
                if size:
                    file.seek(offset)
                yield file.read(size) if size else b""

    @abstractmethod
    def pack_copy(self, shard: Shard, *, target: Target, extension: str, change: Change) -> Iterator[Written]: ...
