"""Join: new rows take the groups that are there, by the nearest centre or by their class; nothing is fitted."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Int64

from ray_ue.engine.stage import Run, stage
from ray_ue.grouping.kmeans import NO_SLOT, Groups, assign
from ray_ue.progress import counted, say
from ray_ue.sources.naming import composed
from ray_ue.stages.protect.cluster import open_groups, save
from ray_ue.stages.protect.comparison import label_name
from ray_ue.stages.protect.index import labels_of
from ray_ue.stages.protect.vectors import vectors
from ray_ue.storage.artifacts import Artifact, Folder
from ray_ue.types import SlotOf

VERSION = 1


def join_nearest(run: Run, *, index: Artifact, embedded: Artifact, groups: Artifact) -> Artifact:
    """The groups artifact of new rows: the nearest centre of `groups`. Its fact `drift_ratio` is their mean squared distance to it, over
    what it would be for more rows like those which the centres were made of."""

    def build(folder: Folder) -> dict:
        old = open_groups(groups.folder)
        slot_of, total, count = np.full(index.facts["rows"], NO_SLOT, np.int32), 0.0, 0
        for ids, block in vectors(embedded):
            slot_of[ids], squares = assign(block, old.centers)
            total, count = total + float(squares.sum()), count + len(ids)
        before = spread_of_others(groups.facts["inertia_per_row"], groups.facts["sizes"])
        return finish(folder, Groups(slot_of=slot_of, centers=old.centers), drift=total / max(1, count) / before if before else 0.0)

    inputs = {"index": index, "embed": embedded, "groups": groups}
    return stage(run, "cluster", version=VERSION, fields={"joined": "nearest"}, inputs=inputs, build=build)


def spread_of_others(spread: float, sizes: Sequence[int]) -> float:
    """The mean squared distance of rows that took no part in a k-means to its centres, from that of its own rows.

    A centre lies among its own rows: where all of them scatter alike, n rows lie 1 - 1/n times their variance from it, and others
    1 + 1/n times.
    """
    rows, clusters = sum(sizes), sum(size > 0 for size in sizes)
    return spread * (rows + clusters) / (rows - clusters) if rows > clusters else 0.0


def join_classes(run: Run, *, index: Artifact, first: Artifact, groups: Artifact) -> Artifact:
    """The groups artifact of new rows: the group of their class in `groups`, which the index `first` names; none is a `ValueError`."""
    inputs = {"index": index, "groups": groups}
    build = partial(by_class, index=index, first=first, groups=groups)
    return stage(run, "cluster", version=VERSION, fields={"joined": "label"}, inputs=inputs, build=build)


def by_class(folder: Folder, *, index: Artifact, first: Artifact, groups: Artifact) -> dict:
    slots = slots_of_classes(labels_of(index), index.facts["classes"], first=first, groups=groups)
    return finish(folder, Groups(slot_of=slots, centers=open_groups(groups.folder).centers), drift=0.0)


def slots_of_classes(labels: Int64[np.ndarray, " N"], classes: list[str], *, first: Artifact, groups: Artifact) -> SlotOf:
    """The group of each row's class; a `ValueError` names the classes that the rows of the index `first` lacked."""
    old, named = open_groups(groups.folder), labels_of(first)
    slot_of_class = {
        composed(label_name(label, first.facts["classes"])): int(old.slot_of[(named == label) & (old.slot_of >= 0)].max(initial=NO_SLOT))
        for label in np.unique(named).tolist()
    }
    names = [composed(label_name(label, classes)) for label in labels.tolist()]
    if strange := sorted({name or "(none)" for name in names if slot_of_class.get(name, NO_SLOT) < 0}):
        raise ValueError(f"no pattern was crafted for the class {', '.join(strange)}, as there was none; --anew makes the whole copy anew")
    return np.array([slot_of_class[name] for name in names], np.int32)


def finish(folder: Folder, groups: Groups, *, drift: float) -> dict:
    save(folder, groups)
    sizes = groups.sizes().tolist()
    say(f"  cluster  {counted(sum(sizes), 'image')} joined {sum(size > 0 for size in sizes)} of {counted(len(sizes), 'group')}")
    return {"by": "joined", "sizes": sizes, "drift_ratio": round(drift, 2)}
