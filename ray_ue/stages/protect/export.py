"""Export: one streaming pass that writes the protected copy in the source's own layout, shard by shard, and a ledger of it."""

import pickle
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa

from ray_ue.config.recipe import EXPORT_FIELDS
from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run, stage
from ray_ue.images.codec import Limits, Picture, Rejected, decode, encode, resized
from ray_ue.images.memory import WRITING
from ray_ue.images.metadata import Strip, strip_exif
from ray_ue.images.quality import compare, deviation
from ray_ue.perturbations import Poison
from ray_ue.progress import Progress
from ray_ue.sources import Item, Shard, Source, Written, sweep
from ray_ue.sources.image_files import EXTENSIONS, LOSSY, MOVING
from ray_ue.stages.protect.craft import open_poison, open_slots
from ray_ue.stages.protect.index import listed_source, rows_of, shard_lines
from ray_ue.stages.protect.ledger import LEDGER, digest_of, in_order, ledger_name
from ray_ue.stages.protect.memory import largest_picture, share_out
from ray_ue.stages.protect.summary import beside, summarise, warnings_of
from ray_ue.storage.artifacts import MANIFEST, Artifact, Folder
from ray_ue.types import SlotOf

VERSION = 3
# SSIM costs several times a decode: one image in 50, or fewer to measure about 256 of the collection.
SSIM_IMAGES, SSIM_EVERY = 256, 50
SHOWN_EVERY = 32


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
    writer = Writer(
        source=source,
        output=run.output.uri,
        index=index.folder,
        poison=poison.folder,
        ledger=folder,
        resize=recipe.resize,
        image_format=recipe.image_format,
        strip=recipe.strip,
        limits=recipe.limits(),
        ssim_every=max(SSIM_EVERY, index.facts["rows"] // SSIM_IMAGES),
        threads=threads,
    )
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


def forget(exported: Artifact, shards: Set[int]) -> None:
    """Make an export unfinished: the same stage will write these shards of the copy again."""
    exported.folder.remove(MANIFEST)
    for shard in shards:
        exported.folder.remove(f"ledger/{ledger_name(shard)}")


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


@dataclass(frozen=True, kw_only=True)
class Writer:
    """All that a task needs to write one shard of the copy."""

    source: Source
    output: str
    index: Folder
    poison: Folder
    ledger: Folder
    resize: int
    image_format: str
    strip: Strip
    limits: Limits
    ssim_every: int
    threads: int

    def protect(self, item: Item, number: int, slot: int, poison: Poison) -> tuple[bytes | None, dict]:
        """The protected bytes of one image (None: left out) and its line for the ledger."""
        line: dict = {"id": number, "key": item.key, "slot": slot}
        try:
            clean = decode(item.data, limits=self.limits, moving=self.image_format in MOVING)
        except Rejected as reason:
            return None, line | {"reason": str(reason)}
        if slot < 0:
            return None, line | {"reason": "rejected when it was first read"}
        if self.resize:
            clean = resized(clean, size=self.resize)
        kept = strip_exif(clean.exif, strip=self.strip)
        picture, notes = replace(perturbed(clean, poison, slot, key=item.key), exif=kept.exif), [*kept.notes, *clean.notes]
        data = encode(picture, format=self.image_format)
        if self.image_format in LOSSY:  # what a reader decodes is another picture
            picture = decode(data, limits=self.limits)
            notes += ["transparency dropped"] if clean.alpha is not None else []
        visibility = compare(clean.rgb, picture.rgb, ssim=number % self.ssim_every == 0)
        height, width = picture.rgb.shape[:2]
        most = max([visibility.most, *(deviation(*pair) for pair in zip(clean.frames()[1:], picture.frames()[1:]))])
        change = {"most": most, "psnr": visibility.psnr, "ssim": visibility.ssim, "notes": notes}
        return data, line | {"height": height, "width": width, **change, "bytes": len(data), "pixels": digest_of(picture)}

    def write(self, shard: Shard, first_id: int, slots: SlotOf) -> Iterator[list[dict]]:
        """Write the shard's part of the copy, then its ledger, which is what says that it is done; yields ledger lines as they come."""
        keys = rows_of(self.index, shard.number)["key"].to_pylist()
        lines: list[dict] = []
        written: dict[str, Written] = {}
        others: list[Written] = []
        yielded = 0
        change = partial(self.change, numbered=list(zip(keys, range(first_id, first_id + len(keys)), slots.tolist())), lines=lines)
        for done in self.source.rewrite(shard, to=self.output, extension=EXTENSIONS[self.image_format], change=change):
            if done.key:
                written[done.key] = done
            else:
                others.append(done)
            if len(lines) - yielded >= SHOWN_EVERY:
                yield lines[yielded:]
                yielded = len(lines)
        if len(lines) != len(keys):
            raise changed(self.source, f"{shard.path} has {len(lines)} images, {len(keys)} were listed")
        if others:
            columns = {"name": [o.name for o in others], "sha256": [o.sha256 for o in others], "bytes": [o.size for o in others]}
            self.ledger.write_table(f"others/{ledger_name(shard.number)}", pa.table(columns))
        for line in lines:
            if line["key"] in written:
                line |= {"name": written[line["key"]].name, "sha256": written[line["key"]].sha256}
        self.ledger.write_table(f"ledger/{ledger_name(shard.number)}", pa.Table.from_pylist(lines, schema=LEDGER))
        yield lines[yielded:]

    def change(self, items: Iterator[Item], *, numbered: list[tuple[str, int, int]], lines: list[dict]) -> Iterator[bytes | None]:
        """Protected bytes in the order of the items, made by threads; each image's ledger line is appended to `lines`."""
        poison = poison_here(self.poison)

        def tasks() -> Iterator[tuple[Item, int, int]]:
            for place, item in enumerate(items):
                if place >= len(numbered) or numbered[place][0] != item.key:
                    raise changed(self.source, f"{item.key} was not listed there")
                yield item, numbered[place][1], numbered[place][2]

        with ThreadPoolExecutor(self.threads) as pool:
            for data, line in in_order(pool, lambda task: self.protect(task[0], task[1], task[2], poison), tasks(), ahead=2 * self.threads):
                lines.append(line)
                yield data


def perturbed(clean: Picture, poison: Poison, slot: int, *, key: str) -> Picture:
    """The picture with its perturbation, which every frame of an animation carries."""
    motion = clean.motion
    if motion:
        frames = tuple((poison.apply(rgb, slot, key=key), alpha) for rgb, alpha in motion.frames)
        motion = replace(motion, frames=frames)
    return replace(clean, rgb=poison.apply(clean.rgb, slot, key=key), motion=motion)


def changed(source: Source, what: str) -> ValueError:
    return ValueError(f"{source.root} changed while it was read: {what}; leave it alone during a run, and name a new output")


@lru_cache(maxsize=1)
def poison_here(folder: Folder) -> Poison:
    """The poison, read once per process."""
    return open_poison(folder)


def write_shards(batch: pa.Table, *, writer: Writer) -> Iterator[pa.Table]:
    """Write each shard of `batch`; yield counts for the live view."""
    for entry in batch.to_pylist():
        shard: Shard = pickle.loads(entry["shard"])  # noqa: S301 - made by the driver of this run
        for lines in writer.write(shard, entry["first_id"], np.frombuffer(entry["slots"], np.int32)):
            yield count(lines)


def count(lines: list[dict]) -> pa.Table:
    return pa.table({"rows": [len(lines)], "rejected": [sum("reason" in line for line in lines)]})
