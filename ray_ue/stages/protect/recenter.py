"""Recenter: the groups of imported embeddings, with centres in the feature space of the surrogate."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import torch

from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run, stage
from ray_ue.grouping.kmeans import Groups, Tally
from ray_ue.progress import Progress
from ray_ue.stages.protect.cluster import open_groups, save
from ray_ue.stages.protect.embed import BATCH_CPU, BATCH_GPU, fetchable, open_surrogate
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
    actors, share = run.machines.encoder(run.resources)
    items = [{"begin": begin} for begin in range(0, len(ids), BLOCK)]
    arguments = {
        "surrogate": run.recipe.surrogate,
        "weights": fetchable(dict(weights)),
        "image_size": run.recipe.image_size,
        "views": views.folder,
        "slots": slots,
        "count": count,
        "threads": run.machines.threads(run.resources, tasks=max(1, actors // run.machines.nodes)),
        "gpu": bool(share),
    }
    progress = Progress(stage="centers", total=len(ids))
    results: dict[int, Tally] = {}
    for row in stream(items, work=Centerer, arguments=arguments, cpus=1, gpus=share, actors=min(actors, len(items))):
        sums = np.asarray(row["sums"], np.float64).reshape(count, -1)
        results[row["begin"]] = Tally(counts=np.asarray(row["counts"], np.int64), sums=sums, inertia=0.0)
        progress.add(int(results[row["begin"]].counts.sum()))
    progress.close()
    # Added in the order of the views, so the centres do not depend on which actor came first.
    whole = results[0]
    for begin in sorted(results)[1:]:
        whole += results[begin]
    middle = (whole.sums.sum(0) / whole.counts.sum()).astype(np.float32)
    save(folder, Groups(slot_of=fitted.slot_of, centers=whole.centers(np.tile(middle, (count, 1)))))
    return groups.facts | {"centers": "surrogate", "seen": len(ids)}


class Centerer:
    """An actor that holds the surrogate: sums the features of a block of views by slot."""

    def __init__(
        self,
        *,
        surrogate: str,
        weights: Folder | str,
        image_size: int,
        views: Folder,
        slots: np.ndarray,
        count: int,
        threads: int,
        gpu: bool,
    ) -> None:
        torch.set_num_threads(threads)
        self.device = torch.device("cuda" if gpu else "cpu")
        self.surrogate = open_surrogate(surrogate, weights=weights, image_size=image_size, device=self.device)
        self.pixels = open_views(views)[0]
        self.slots, self.count = slots, count
        self.batch = BATCH_GPU if gpu else BATCH_CPU

    def __call__(self, item: pa.Table) -> Iterator[pa.Table]:
        begin = item["begin"][0].as_py()
        parts = [self.features(self.pixels[i : i + self.batch]) for i in self.steps(begin)]
        slots, features = self.slots[begin : begin + BLOCK], np.concatenate(parts)
        tally = Tally.of(features, slots, np.zeros(len(slots)), k=self.count)
        yield pa.table({"begin": [begin], "counts": [tally.counts.tolist()], "sums": [tally.sums.ravel().tolist()]})

    def steps(self, begin: int) -> range:
        return range(begin, min(begin + BLOCK, len(self.pixels)), self.batch)

    def features(self, views: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(views)).to(self.device).permute(0, 3, 1, 2).float() / 255
            return self.surrogate.features(pixels).float().cpu().numpy()
