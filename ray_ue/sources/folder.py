"""A folder of images, one first-level folder per class where there are any."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import pyarrow as pa

from ray_ue.sources import files
from ray_ue.sources.base import Change, Shard, Source, Written
from ray_ue.sources.naming import readable
from ray_ue.sources.target import Target


@final
@dataclass(frozen=True, kw_only=True)
class ImageFolder(Source):
    """Keys are relative paths; images outside any first-level folder have no label."""

    format: ClassVar[str] = "folder"
    identity: ClassVar[str] = "Folder"

    def _list_shards(self) -> list[Shard]:
        shards = files.pack(self.place, self.files(), first=0, labelled=True, published=self.published)
        if not any(file.is_image for shard in shards for file in shard.files):
            raise ValueError(f"there are no images in {self.root!r}, only {sum(len(shard.files) for shard in shards)} other files")
        return shards

    def class_names(self) -> list[str]:
        loose = [file for shard in self.shards() for file in shard.files]
        return [readable(name) for name in files.classes([file.path for file in loose], [file.is_image for file in loose])]

    def rows(self, shard: Shard) -> pa.Table:
        return files.rows(shard)

    def read(self, shard: Shard, rows: pa.Table) -> Iterator[bytes]:
        return files.read(self.place, [shard.files[offset] for offset in rows["offset"].to_pylist()])

    def _copy(self, shard: Shard, *, target: Target, extension: str, change: Change) -> Iterator[Written]:
        return files.rewrite(self.place, shard, target=target, extension=extension, change=change, replacement=self.replacement)
