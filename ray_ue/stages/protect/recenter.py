"""Recenter: the groups of imported embeddings, with centres in the feature space of the surrogate."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run, stage
from ray_ue.grouping.kmeans import Groups, OrderedSum, Tally
from ray_ue.progress import Progress
from ray_ue.stages.protect.cluster import open_groups, read_tally, save, tally_columns
from ray_ue.stages.protect.embed import Encoder, encoders
from ray_ue.stages.protect.views import open_views
from ray_ue.storage.artifacts import Artifact, Folder

VERSION = 1
FIELDS = ("surrogate", "image_size")
BLOCK = 1024  # views of one item


def recenter(
    run: Run, *, index: Artifact, embedded: Artifact, groups: Artifact, views: Artifact, weights: Mapping[str, Artifact]
) -> Artifact:
    """The groups artifact with the same slots; a slot's centre is the mean surrogate feature of its sampled views (ADR 13)."""
    fields = {"centers": "surrogate"} | run.recipe.values(FIELDS)
    inputs = {"index": index, "embed": embedded, "groups": groups, "views": views, **weights}
    return stage(
        run, "cluster", version=VERSION, fields=fields, inputs=inputs, build=lambda folder: build(run, groups, views, weights, folder)
    )


def build(run: Run, groups: Artifact, views: Artifact, weights: Mapping[str, Artifact], folder: Folder) -> dict:
    fitted, ids = open_groups(groups.folder), open_views(views.folder)[1]
    slots, count = fitted.slot_of[ids], len(fitted.centers)
    unseen = np.flatnonzero((np.bincount(slots, minlength=count) == 0) & (fitted.sizes() > 0))
    if len(unseen):
        raise ValueError(
            f"{len(unseen)} of {count} clusters have no image among the {len(ids):,} that crafting sees, so they have no centre: "
            "ask for a larger --craft-sample or fewer --clusters"
        )
    actors, share, arguments = encoders(run, weights)
    arguments |= {"views": views.folder, "slots": slots, "count": count}
    items = [{"begin": begin} for begin in range(0, len(ids), BLOCK)]
    progress = Progress(stage="centers", total=len(ids))
    total = OrderedSum()
    for row in stream(items, work=Centerer, arguments=arguments, cpus=1, gpus=share, actors=min(actors, len(items))):
        total.add(row["begin"] // BLOCK, tally := read_tally(row))
        progress.add(int(tally.counts.sum()))
    progress.close()
    whole = total.whole(len(items))
    middle = (whole.sums.sum(0) / whole.counts.sum()).astype(np.float32)
    save(folder, Groups(slot_of=fitted.slot_of, centers=whole.centers(np.tile(middle, (count, 1)))))
    return groups.facts | {"centers": "surrogate", "seen": len(ids)}


class Centerer(Encoder):
    """An actor that sums the features of a block of views by slot."""

    def __init__(self, *, views: Folder, slots: np.ndarray, count: int, **encoder: Any) -> None:
        super().__init__(**encoder)
        self.pixels, self.slots, self.count = open_views(views)[0], slots, count

    def __call__(self, item: pa.Table) -> Iterator[pa.Table]:
        begin = item["begin"][0].as_py()
        block, slots = self.pixels[begin : begin + BLOCK], self.slots[begin : begin + BLOCK]
        features = np.concatenate([self.features(block[i : i + self.batch]) for i in range(0, len(block), self.batch)])
        tally = Tally.of(features, slots, np.zeros(len(slots)), k=self.count)
        yield pa.table({"begin": [begin]} | tally_columns(tally))
