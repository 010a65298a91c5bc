"""Cluster: k-means on a stated sample of the vectors, then a streamed assignment of all of them."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ray_ue.artifacts import Artifact, Folder
from ray_ue.groups import NO_SLOT, Groups, KMeans, Tally, assign, on_gpu, report
from ray_ue.progress import Progress, say
from ray_ue.sampling import draw_sample
from ray_ue.stages.base import Run, stage
from ray_ue.stages.embed import read_vectors, vectors
from ray_ue.stages.session import stream

VERSION = 1
FIELDS = ("clusters", "restarts", "fit_sample", "seed")


def cluster(run: Run, *, embedded: Artifact) -> Artifact:
    """The groups artifact: `slots.parquet` (id, slot), `centers.npy` float32 [S, D]."""
    fields = run.recipe.values(FIELDS)
    return stage(
        run, "cluster", version=VERSION, fields=fields, inputs={"embed": embedded}, build=lambda folder: build(run, embedded, folder)
    )


def build(run: Run, embedded: Artifact, folder: Folder) -> dict:
    good = embedded.facts["rows"] - embedded.facts["rejected"]
    kmeans = KMeans(k=run.recipe.clusters, restarts=run.recipe.restarts, seed=run.recipe.seed)
    kmeans.check(good)
    sampled = collect(embedded, draw_sample(good, size=run.recipe.fit_sample, seed=run.recipe.seed))
    say(f"  cluster  fitting {kmeans.k} clusters on {len(sampled):,} of {good:,} vectors, {'GPU' if on_gpu() else 'CPU'}")
    fitted = kmeans.fit(sampled)
    names = embedded.folder.names("vectors")
    progress = Progress(stage="cluster", total=good)
    tallies: dict[str, Tally] = {}
    # A few parts per item: a task costs more than the assignment of one part.
    items = [{"names": names[i : i + 16]} for i in range(0, len(names), 16)]
    arguments = {"embedded": embedded.folder, "folder": folder, "centers": fitted}
    work = (
        stream(items, work=assign_parts, arguments=arguments, cpus=1, tasks=run.machines.slots())
        if len(items) > 4
        else assign_here(items, arguments)
    )
    for row in work:
        sums = np.asarray(row["sums"], np.float64).reshape(kmeans.k, -1)
        tallies[row["name"]] = Tally(counts=np.asarray(row["counts"], np.int64), sums=sums, inertia=row["inertia"])
        progress.add(int(tallies[row["name"]].counts.sum()))
    progress.close()
    # Added in the order of the parts, so the centres do not depend on which task came first.
    whole = tallies[names[0]]
    for name in names[1:]:
        whole += tallies[name]
    slots = gather(folder, rows=embedded.facts["rows"])
    groups = Groups(slot_of=slots, centers=whole.centers(fitted))
    save(folder, groups)
    facts = report(groups.sizes(), whole.inertia) | {"fitted_on": len(sampled), "device": "gpu" if on_gpu() else "cpu"}
    describe(facts)
    return facts


def collect(embedded: Artifact, places: np.ndarray) -> np.ndarray:
    """The vectors at sorted `places` (counting readable rows only), one part in memory beside the sample."""
    found, begin = [], 0
    for _, block in vectors(embedded):
        inside = places[(places >= begin) & (places < begin + len(block))] - begin
        if len(inside):
            found.append(block[inside])
        begin += len(block)
    return np.concatenate(found)


def assign_here(items: list[dict], arguments: dict) -> Iterator[dict]:
    for item in items:
        for table in assign_parts(pa.Table.from_pylist([item]), **arguments):
            yield from table.to_pylist()


def assign_parts(batch: pa.Table, *, embedded: Folder, folder: Folder, centers: np.ndarray) -> Iterator[pa.Table]:
    """Write the slots of each named part; yield its float64 sums."""
    for name in (name for names in batch["names"].to_pylist() for name in names):
        ids, block = read_vectors(embedded, name)
        slots, squares = assign(block, centers)
        tally = Tally.of(block, slots, squares, k=len(centers))
        folder.write_table(f"parts/{name}", pa.table({"id": ids, "slot": slots}))
        yield pa.table(
            {"name": [name], "counts": [tally.counts.tolist()], "sums": [tally.sums.ravel().tolist()], "inertia": [tally.inertia]}
        )


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
    folder.remove("parts")


def open_groups(folder: Folder) -> Groups:
    """The finished groups of a cluster artifact."""
    slots = folder.read_table("slots.parquet", columns=("slot",))["slot"].to_numpy()
    return Groups(slot_of=slots.astype(np.int32), centers=np.load(folder.fetch("centers.npy"), allow_pickle=False))


def describe(facts: dict) -> None:
    sizes = sorted(facts["sizes"], reverse=True)
    shown = ", ".join(f"{size:,}" for size in sizes[:10]) + (", …" if len(sizes) > 10 else "")
    say(f"  cluster  sizes {shown}; largest is {facts['imbalance']:.2f} x the mean")
    if facts["empty"]:
        say(f"  warning  {facts['empty']} clusters are empty: the features have fewer distinct values than clusters")
    elif facts["imbalance"] > 5:
        say("  warning  the clusters are very uneven; fewer clusters or another surrogate may protect better")
