"""A source of an evaluation with its index: clean images, test images, or a copy."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from ray_ue.engine.stage import Run, stage
from ray_ue.images.codec import Limits, decode
from ray_ue.sources import Source
from ray_ue.stages.protect.index import index, listed_source
from ray_ue.stages.protect.views import ViewFunction, open_views, read_few, read_views, view_or_none
from ray_ue.storage.artifacts import Artifact, Folder

VERSION = 1
Ids = Int64[np.ndarray, "_"]


@dataclass(frozen=True, kw_only=True)
class FullSize:
    """The view of a row at its own size."""

    limits: Limits

    def __call__(self, data: bytes, number: int, label: int) -> np.ndarray:
        return decode(data, limits=self.limits).rgb


@dataclass(frozen=True, kw_only=True, eq=False)
class IndexedSource:
    """`run` works on the source that `index` lists."""

    run: Run
    index: Artifact

    @classmethod
    def of(cls, run: Run, source: Source) -> "IndexedSource":
        own = replace(run, source=source)
        return cls(run=own, index=index(own))

    @property
    def address(self) -> str:
        return self.run.source.address

    @property
    def rows(self) -> int:
        return int(self.index.facts["rows"])

    def images(self, ids: Ids, *, view: ViewFunction | None = None) -> list[np.ndarray | None]:
        """A few rows in the order of `ids`, at their own size unless `view` says otherwise; None for those that cannot be read."""
        view = view or FullSize(limits=self.run.recipe.limits())
        ordered = np.unique(ids)
        blobs = read_few(listed_source(self.run, self.index), self.index, ordered)
        read = {number: view_or_none(view, data, number, -1) for data, number in zip(blobs, ordered.tolist())}
        return [read[number] for number in ids.tolist()]

    def views(self, wanted: Ids, *, view: ViewFunction, canvas: int, identity: dict, name: str) -> Artifact:
        """The views artifact of the readable rows among `wanted`, as `read_views` writes it."""
        fields = identity | {"canvas": canvas, "wanted": digest(wanted)}

        def build(folder: Folder) -> dict:
            rows = read_views(self.run, self.index, wanted, view=view, canvas=canvas, name=name, folder=folder)
            if rows < 2:
                raise ValueError(f"only {rows} of {len(wanted):,} images of {self.address} could be read")
            return {"rows": rows, "asked": len(wanted), "sha256": digest(open_views(folder)[0])}

        return stage(self.run, "views", version=VERSION, fields=fields, inputs={"index": self.index}, build=build)


def digest(array: np.ndarray) -> str:
    """sha256 of an array's content, read in pieces."""
    total = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    for begin in range(0, len(array), 4096):
        total.update(np.ascontiguousarray(array[begin : begin + 4096]).data)
    return total.hexdigest()[:16]
