"""Export: one streaming pass that writes the protected copy in the source's own layout, shard by shard, and a ledger of it."""

import pickle
from collections.abc import Mapping
from functools import partial

import pyarrow as pa

from ray_ue.config.recipe import EXPORT_FIELDS
from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run, stage
from ray_ue.images.memory import WRITING
from ray_ue.progress import Progress
from ray_ue.sources import Source, sweep
from ray_ue.sources.image_files import EXTENSIONS
from ray_ue.stages.protect.craft import open_slots
from ray_ue.stages.protect.index import listed_source, shard_lines
from ray_ue.stages.protect.ledger import largest_of, ledger_name
from ray_ue.stages.protect.memory import largest_picture, share_out
from ray_ue.stages.protect.summary import beside, summarise, warnings_of
from ray_ue.stages.protect.writer import Writer, mend_shards, write_shards
from ray_ue.storage.artifacts import Artifact, Folder
from ray_ue.types import SlotOf

VERSION = 3
# SSIM costs several times a decode: one image in 50, or fewer to measure about 256 of the collection.
SSIM_IMAGES, SSIM_EVERY = 256, 50


def export(run: Run, *, index: Artifact, views: Artifact, groups: Artifact, poison: Artifact, embedded: Mapping[str, Artifact]) -> Artifact:
    """The export artifact: `ledger/shard-*.parquet`, one line per image with its name and checksum in the copy, and `rejected.parquet`.

    The copy itself lies in the output folder and holds nothing but what the source holds. `embedded` is empty, or tells why a row was
    rejected when it was embedded.
    """
    fields = run.recipe.values(EXPORT_FIELDS)
    inputs = {"index": index, "groups": groups, "poison": poison}
    return stage(
        run,
        "export",
        version=VERSION,
        fields=fields,
        inputs=inputs,
        build=lambda folder: build(run, index, embedded, groups, open_slots(poison, groups=groups, views=views), poison, folder),
    )


def build(
    run: Run, index: Artifact, embedded: Mapping[str, Artifact], groups: Artifact, slot_of: SlotOf, poison: Artifact, folder: Folder
) -> dict:
    source = listed_source(run, index)
    first = {line["shard"]: (line["first_id"], line["rows"]) for line in shard_lines(index)}
    written = set(folder.names("ledger"))
    shards = source.shards()
    waiting = [shard for shard in shards if ledger_name(shard.number) not in written]
    progress = Progress(stage="export", total=index.facts["rows"])
    progress.skip(index.facts["rows"] - sum(first[shard.number][1] for shard in waiting))
    recipe = run.recipe
    tasks, threads = share_out(
        run.machines,
        run.resources,
        tasks=len(waiting),
        per_pixel=WRITING[recipe.image_format],
        limits=recipe.limits(),
        largest=lambda: largest_picture(source, index, limits=recipe.limits()),
    )
    writer = writer_of(run, source, index=index, poison=poison, ledger=folder, threads=threads)
    items = []
    for shard in waiting:
        begin, rows = first[shard.number]
        items.append({"shard": pickle.dumps(shard), "first_id": begin, "slots": slot_of[begin : begin + rows].tobytes()})
    for result in stream(items, work=write_shards, arguments={"writer": writer}, cpus=1, tasks=tasks, block_bytes=1):
        progress.add(result["rows"], rejected=result["rejected"])
    progress.close()
    sweep(run.output.uri)  # what killed writers left behind
    leave_out(source, run, folder)
    totals = summarise(folder, embedded, [ledger_name(shard.number) for shard in shards], budget=recipe.levels().levels)
    facts = totals | beside(run.source, source, folder, extension=EXTENSIONS[recipe.image_format])
    return facts | {"warnings": warnings_of(facts, groups=groups.facts, recipe=recipe)}


def writer_of(run: Run, source: Source, *, index: Artifact, poison: Artifact, ledger: Folder, threads: int) -> "Writer":
    recipe = run.recipe
    return Writer(
        source=source,
        output=run.output.uri,
        index=index.folder,
        poison=poison.folder,
        ledger=ledger,
        resize=recipe.resize,
        image_format=recipe.image_format,
        strip=recipe.strip,
        limits=recipe.limits(),
        ssim_every=max(SSIM_EVERY, index.facts["rows"] // SSIM_IMAGES),
        threads=threads,
    )


def mend(
    run: Run,
    *,
    index: Artifact,
    views: Artifact,
    groups: Artifact,
    poison: Artifact,
    exported: Artifact,
    wrong: Mapping[int, frozenset[str]],
) -> None:
    """Write parts of a finished export's copy again: `wrong` has the names by shard. Of a packed file every row is written."""
    source, ledger = listed_source(run, index), exported.folder
    slot_of = open_slots(poison, groups=groups, views=views)
    first = {line["shard"]: (line["first_id"], line["rows"]) for line in shard_lines(index)}
    largest = partial(largest_of, ledger)
    tasks, threads = share_out(
        run.machines,
        run.resources,
        tasks=len(wrong),
        per_pixel=WRITING[run.recipe.image_format],
        limits=run.recipe.limits(),
        largest=largest,
    )
    writer = writer_of(run, source, index=index, poison=poison, ledger=ledger, threads=threads)
    progress = Progress(stage="mend", total=sum(map(len, wrong.values())), unit="files")
    items = []
    for number, names in wrong.items():
        begin, rows = first[number]
        work = pickle.dumps((source.shards()[number], names))
        items.append({"work": work, "first_id": begin, "slots": slot_of[begin : begin + rows].tobytes()})
    for result in stream(items, work=mend_shards, arguments={"writer": writer}, cpus=1, tasks=tasks, block_bytes=1):
        progress.add(result["rows"])
    progress.close()
    sweep(run.output.uri)
    leave_out(source, run, ledger)


def leave_out(source: Source, run: Run, folder: Folder) -> None:
    """Take the images that are not in the copy out of its metadata files; only now is it known which they are."""
    lines = [folder.read_table(f"ledger/{name}", columns=("key", "reason")) for name in folder.names("ledger")]
    keys = {key for table in lines for key in table.filter(table["reason"].is_valid())["key"].to_pylist()}
    if not keys:
        return
    for shard, done in source.leave_out(keys, to=run.output.uri, extension=EXTENSIONS[run.recipe.image_format]):
        others = folder.read_table(f"others/{ledger_name(shard.number)}").to_pylist()
        new = [line | {"sha256": done.sha256, "bytes": done.size} if line["name"] == done.name else line for line in others]
        folder.write_table(f"others/{ledger_name(shard.number)}", pa.Table.from_pylist(new))
