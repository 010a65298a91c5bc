"""Join: new rows take the groups that are there, by the nearest centre or by their class; nothing is fitted."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Int64

from ray_ue.config.stages import FURTHER
from ray_ue.engine.stage import Run, stage
from ray_ue.grouping.kmeans import NO_SLOT, Groups
from ray_ue.progress import counted, say
from ray_ue.sources.naming import composed
from ray_ue.stages.protect.cluster import open_groups, save
from ray_ue.stages.protect.comparison import label_name
from ray_ue.stages.protect.index import labels_of
from ray_ue.stages.protect.vectors import vectors
from ray_ue.storage.artifacts import Artifact, Folder, opened
from ray_ue.types import SlotOf

VERSION = 1


def join_groups(run: Run, *, index: Artifact, embedded: Mapping[str, Artifact], first: Mapping[str, Artifact]) -> Artifact:
    """The groups artifact of new rows beside the `first` generation of a copy: by their vectors if there are some, else by class."""
    if embedded:
        return join_nearest(run, index=index, embedded=embedded["embed"], groups=first["cluster"])
    return join_classes(run, index=index, groups=first["cluster"])


def join_further(run: Run, *, index: Artifact, embedded: Artifact, first: Mapping[str, Artifact]) -> Iterator[Artifact]:
    """The same for each further grouping that the patterns of the first generation were crafted with."""
    for role, fingerprint in first["craft"].manifest.inputs.items():
        if role.startswith(FURTHER):
            yield join_nearest(run, index=index, embedded=embedded, groups=_cluster(run.shared, fingerprint))


def fitted(shared: Folder, groups: Artifact) -> Artifact:
    """The groups that were fitted, from which `groups` come: rows that joined took theirs from them, or their centres were moved to
    another feature space."""
    while "groups" in groups.manifest.inputs:
        groups = _cluster(shared, groups.manifest.inputs["groups"])
    return groups


def _cluster(shared: Folder, fingerprint: str) -> Artifact:
    return opened(shared.child(f"cluster-{fingerprint}"))


def join_nearest(run: Run, *, index: Artifact, embedded: Artifact, groups: Artifact) -> Artifact:
    """The groups artifact of new rows: the nearest centre of `groups`. Its fact `drift_ratio` is their mean squared distance to it, over
    what it would be for more rows like those which the centres were made of."""

    def build(folder: Folder) -> dict:
        root = fitted(run.shared, groups)
        old, slot_of, total, count = open_groups(root.folder), np.full(index.facts["rows"], NO_SLOT, np.int32), 0.0, 0
        for ids, block in vectors(embedded):
            slot_of[ids], squares = old.assign(block)
            total, count = total + float(squares.sum()), count + len(ids)
        before = spread_of_others(root.facts["inertia_per_row"], root.facts.get("merged_from", root.facts["sizes"]))
        joined = Groups(slot_of=slot_of, centers=open_groups(groups.folder).centers)
        return finish(folder, joined, drift=total / max(1, count) / before if before else 0.0)

    inputs = {"index": index, "embed": embedded, "groups": groups}
    return stage(run, "cluster", version=VERSION, fields={"joined": "nearest"}, inputs=inputs, build=build)


def spread_of_others(spread: float, sizes: Sequence[int]) -> float:
    """The mean squared distance of rows that took no part in a k-means to its centres, from that of its own rows.

    A centre lies among its own rows: where all of them scatter alike, n rows lie 1 - 1/n times their variance from it, and others
    1 + 1/n times.
    """
    rows, clusters = sum(sizes), sum(size > 0 for size in sizes)
    return spread * (rows + clusters) / (rows - clusters) if rows > clusters else 0.0


def join_classes(run: Run, *, index: Artifact, groups: Artifact) -> Artifact:
    """The groups artifact of new rows: the group of their class in `groups`; none is a `ValueError`."""
    inputs = {"index": index, "groups": groups}
    build = partial(by_class, index=index, shared=run.shared, groups=groups)
    return stage(run, "cluster", version=VERSION, fields={"joined": "label"}, inputs=inputs, build=build)


def by_class(folder: Folder, *, index: Artifact, shared: Folder, groups: Artifact) -> dict:
    slots = slots_of_classes(labels_of(index), index.facts["classes"], shared=shared, groups=groups)
    return finish(folder, Groups(slot_of=slots, centers=open_groups(groups.folder).centers), drift=0.0)


def slots_of_classes(labels: Int64[np.ndarray, " N"], classes: list[str], *, shared: Folder, groups: Artifact) -> SlotOf:
    """The group of each row's class; a `ValueError` names the classes that the rows lacked whose groups `groups` come from."""
    root = fitted(shared, groups)
    first = opened(shared.child(f"index-{root.manifest.inputs['index']}"))
    old, named = open_groups(root.folder), labels_of(first)
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
