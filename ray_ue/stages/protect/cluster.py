"""Cluster: k-means on a stated sample of the vectors, then a streamed assignment of all of them; or one group per label."""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa

from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run, stage
from ray_ue.grouping.agreement import Agreement, Choice
from ray_ue.grouping.kmeans import NO_SLOT, ByLabel, Groups, KMeans, Merged, OrderedSum, Tally, assign, report
from ray_ue.grouping.merging import merge
from ray_ue.grouping.sampling import draw_sample
from ray_ue.methods.requirements import requirements_of
from ray_ue.progress import Progress, counted, say
from ray_ue.stages.protect.fit_clusters import Fit, fit_clusters
from ray_ue.stages.protect.index import labels_of
from ray_ue.stages.protect.vectors import read_vectors, vectors
from ray_ue.stages.protect.views import open_views
from ray_ue.storage.artifacts import Artifact, Folder
from ray_ue.types import SlotOf

VERSION = 1
KMEANS_FIELDS = ("groups", "clusters", "restarts", "fit_sample", "seed")
LABEL_FIELDS = ("groups",)
NOTHING = {"groups": "none"}
LONG = 1e13  # operations; two cores did 1.7e13 in two minutes (docs/experiments/0031)


def cluster(run: Run, *, index: Artifact, embedded: Artifact, clusters: int) -> Artifact:
    """The groups artifact: `slots.parquet` (id, slot), `centers.npy` float32 [S, D]; one per label, or `clusters` of them (0: chosen).

    Where clusters were merged, `merged.parquet` (slot, center) has them.
    """
    by_label = run.recipe.groups == "label"
    fields = run.recipe.values(LABEL_FIELDS) if by_label else run.recipe.values(KMEANS_FIELDS) | {"clusters": clusters}
    fields |= {} if by_label or clusters else {"merging": "ward"}  # from when clusters that were chosen are merged
    inputs = {"index": index, "embed": embedded}

    def group(folder: Folder) -> dict:
        grouping = group_by_label(index, embedded) if by_label else group_by_kmeans(run, embedded, clusters, folder)
        return build(folder, *grouping)

    return stage(run, "cluster", version=VERSION, fields=fields, inputs=inputs, build=group)


def by_listing(run: Run, *, index: Artifact, views: Artifact) -> Artifact:
    """The groups artifact for a method that needs no embedding: one group per label, or a single one. Without centres (D = 0).

    Rows of the `views` that could not be read get no slot; the export finds the others.
    """
    by_label = requirements_of(run.recipe).groups == "label"

    def group(folder: Folder) -> dict:
        used = np.ones(index.facts["rows"], bool)
        used[draw_sample(index.facts["rows"], size=views.manifest.fields["craft_sample"], seed=run.recipe.seed)] = False
        used[open_views(views.folder)[1]] = True
        slot_of, slots = ByLabel().slots(labels_of(index), used) if by_label else (np.where(used, 0, NO_SLOT).astype(np.int32), 1)
        by = "label" if by_label else "none"
        return build(folder, Groups(slot_of=slot_of, centers=np.zeros((slots, 0), np.float32)), 0.0, {"by": by})

    fields = run.recipe.values(LABEL_FIELDS) if by_label else NOTHING
    return stage(run, "cluster", version=VERSION, fields=fields, inputs={"index": index, "views": views}, build=group)


def build(folder: Folder, groups: Groups, inertia: float, facts: dict) -> dict:
    """Save the groups; return and tell what they look like."""
    save(folder, groups)
    facts = report(groups.sizes(), inertia) | facts
    describe(facts)
    return facts


def group_by_label(index: Artifact, embedded: Artifact) -> tuple[Groups, float, dict]:
    """(groups, inertia, facts) with one slot per label, its centre the mean embedding of its rows."""
    used = np.zeros(embedded.facts["rows"], bool)
    for ids, _ in vectors(embedded):
        used[ids] = True
    slot_of, slots = ByLabel().slots(labels_of(index), used)
    tallies = (Tally.of(block, slot_of[ids], np.zeros(len(ids)), k=slots) for ids, block in vectors(embedded))
    whole = reduce(add, tallies)
    centers = whole.centers(np.zeros_like(whole.sums, dtype=np.float32))
    inertia = sum(float(np.square(block - centers[slot_of[ids]], dtype=np.float64).sum()) for ids, block in vectors(embedded))
    return Groups(slot_of=slot_of, centers=centers), inertia, {"by": "label"}


def group_by_kmeans(run: Run, embedded: Artifact, clusters: int, folder: Folder) -> tuple[Groups, float, dict]:
    """(groups, inertia, facts): fitted on a sample, assigned to all rows part by part."""
    good = embedded.facts["rows"] - embedded.facts["rejected"]
    if clusters:
        KMeans(k=clusters).check(good)
    sample = draw_sample(good, size=run.recipe.fit_sample, seed=run.recipe.seed)
    say(f"  cluster  fitting {clusters or 'auto'} clusters on {len(sample):,} of {good:,} vectors")
    if is_long(rows=len(sample), clusters=clusters, width=next(vectors(embedded))[1].shape[1], restarts=run.recipe.restarts):
        say("  cluster  this takes minutes or hours, in which nothing is shown; a smaller --fit-sample or fewer --restarts take less")
    fitted = fit_clusters(embedded, sample, clusters=clusters, restarts=run.recipe.restarts, seed=run.recipe.seed, machines=run.machines)
    if not clusters:
        say_choice(fitted.choice)
    whole = assign_all(run, embedded, folder, fitted.centers, rows=good)
    groups = merged_groups(gather(folder, rows=embedded.facts["rows"]), whole, fitted)
    facts = {"by": "kmeans", "fitted_on": len(sample), "device": fitted.device, "agreement": agreements(fitted.choice.compared)}
    if groups.merged is not None:
        best = next(one for one in fitted.choice.merged if one.clusters == fitted.choice.groups)
        say(f"  cluster  merged to {best.clusters} groups, on which runs agree better ({best.ami:.2f}): small clusters share a pattern")
        facts |= {"merged_from": whole.counts.tolist(), "agreement_merged": agreements(fitted.choice.merged)}
    return groups, whole.inertia, facts


def merged_groups(slot_of: SlotOf, whole: Tally, fitted: Fit) -> Groups:
    """The groups of rows whose clusters are `slot_of`; clusters that were chosen to be merged are, but where some are empty: then many
    images are equal, and a neighbour of nothing is none."""
    centers = whole.centers(fitted.centers)
    if fitted.choice.groups == len(centers) or not whole.counts.all():
        return Groups(slot_of=slot_of, centers=centers)
    slots = merge(centers, whole.counts, groups=fitted.choice.groups)
    joined = whole.merged(slots)
    means = joined.centers(centers[: len(joined.counts)])  # no group is empty, so that none falls back
    of_row = np.where(slot_of >= 0, slots[slot_of], NO_SLOT).astype(np.int32)
    return Groups(slot_of=of_row, centers=means, merged=Merged(centers=centers, slots=slots))


def agreements(compared: Sequence[Agreement]) -> dict[str, dict[str, float]]:
    return {str(one.clusters): {"ami": round(one.ami, 4), "purity": round(one.purity, 4)} for one in compared}


def say_choice(choice: Choice) -> None:
    if not choice.compared:
        why = "too few different images for runs that could be compared"
    else:
        why = "agreement of independent runs (AMI) " + ", ".join(f"{one.clusters} {one.ami:.2f}" for one in choice.compared)
    say(f"  cluster  {counted(choice.clusters, 'cluster')} chosen: {why}")


def is_long(*, rows: int, clusters: int, width: int, restarts: int) -> bool:
    """Whether k-means is some minutes' work for a few cores."""
    return 2 * rows * clusters * width * KMeans.iterations * restarts > LONG


def assign_all(run: Run, embedded: Artifact, folder: Folder, centers: np.ndarray, *, rows: int) -> Tally:
    """Write the slots of every part of the vectors; return the sum of the items' tallies, which does not depend on who came first."""
    names = embedded.folder.names("vectors")
    progress = Progress(stage="cluster", total=rows)
    # A few parts per item: a task costs more than the assignment of one part.
    items = [{"number": i // 16, "names": names[i : i + 16]} for i in range(0, len(names), 16)]
    arguments = {"embedded": embedded.folder, "folder": folder, "centers": centers}
    if len(items) <= 4:  # a task would cost more than the work
        tables = (table for item in items for table in assign_parts(pa.Table.from_pylist([item]), **arguments))
        results = (row for table in tables for row in table.to_pylist())
    else:
        results = stream(items, work=assign_parts, arguments=arguments, cpus=1, tasks=run.machines.slots())
    total = OrderedSum()
    for row in results:
        total.add(row["number"], tally := read_tally(row))
        progress.add(int(tally.counts.sum()))
    progress.close()
    return total.whole(len(items))


def assign_parts(batch: pa.Table, *, embedded: Folder, folder: Folder, centers: np.ndarray) -> Iterator[pa.Table]:
    """Write the slots of the parts that each item names; yield its float64 sums over them."""
    for item in batch.to_pylist():
        tallies = []
        for name in item["names"]:
            ids, block = read_vectors(embedded, name)
            slots, squares = assign(block, centers)
            folder.write_table(f"parts/{name}", pa.table({"id": ids, "slot": slots}))
            tallies.append(Tally.of(block, slots, squares, k=len(centers)))
        yield pa.table({"number": [item["number"]]} | tally_columns(reduce(add, tallies)))


def tally_columns(tally: Tally) -> dict[str, pa.Array]:
    """A tally as the columns of one row of a stream's results."""
    content = {"counts": tally.counts, "sums": tally.sums}
    return {
        **{name: pa.array([values.tobytes()], pa.large_binary()) for name, values in content.items()},
        "inertia": pa.array([tally.inertia]),
    }


def read_tally(row: dict) -> Tally:
    """The tally of a row that `tally_columns` made."""
    counts = np.frombuffer(row["counts"], np.int64)
    return Tally(counts=counts, sums=np.frombuffer(row["sums"], np.float64).reshape(len(counts), -1), inertia=row["inertia"])


def gather(folder: Folder, *, rows: int) -> np.ndarray:
    slots = np.full(rows, NO_SLOT, np.int32)
    for name in folder.names("parts"):
        part = folder.read_table(f"parts/{name}")
        slots[part["id"].to_numpy()] = part["slot"].to_numpy()
    return slots


def save(folder: Folder, groups: Groups) -> None:
    folder.write_table("slots.parquet", pa.table({"id": np.arange(len(groups.slot_of)), "slot": groups.slot_of}))
    with folder.writing("centers.npy") as file:
        np.save(file, groups.centers)
    if groups.merged is not None:
        centers = pa.FixedSizeListArray.from_arrays(groups.merged.centers.ravel(), groups.merged.centers.shape[1])
        folder.write_table("merged.parquet", pa.table({"slot": groups.merged.slots, "center": centers}))
    folder.remove("parts")


def open_groups(folder: Folder) -> Groups:
    """The finished groups of a cluster artifact."""
    slots = folder.read_table("slots.parquet", columns=("slot",))["slot"].to_numpy()
    centers, merged = np.load(folder.fetch("centers.npy"), allow_pickle=False), None
    if folder.exists("merged.parquet"):
        table = folder.read_table("merged.parquet").combine_chunks()
        of_clusters = table["center"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
        merged = Merged(centers=of_clusters, slots=table["slot"].to_numpy())
    return Groups(slot_of=slots.astype(np.int32), centers=centers, merged=merged)


def describe(facts: dict) -> None:
    if facts["by"] == "none":
        say(f"  cluster  none: {counted(sum(facts['sizes']), 'image')}, each with a perturbation of its own")
        return
    sizes = sorted(facts["sizes"], reverse=True)
    listed = ", ".join(f"{size:,}" for size in sizes[:10]) + (", …" if len(sizes) > 10 else "")
    say(f"  cluster  sizes {listed}; largest is {facts['imbalance']:.2f} x the mean")
    if trusted := (facts.get("agreement", {}) | facts.get("agreement_merged", {})).get(str(len(facts["sizes"]))):
        say(f"  cluster  expected purity {100 * trusted['purity']:.0f} %: so far does an independent run find the same groups")
    if facts["empty"]:
        empty = f"{counted(facts['empty'], 'cluster')} {'is' if facts['empty'] == 1 else 'are'} empty"
        say(f"  warning  {empty}: the features have fewer distinct values than clusters")
    elif facts["imbalance"] > 5:
        say("  warning  the clusters are very uneven; fewer clusters or another surrogate may protect better")
