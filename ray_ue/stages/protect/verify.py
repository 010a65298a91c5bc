"""Verify: read the whole copy back and compare it, image by image, with the source and the ledger."""

import hashlib
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run
from ray_ue.images.codec import Limits, Rejected, decode, resized
from ray_ue.images.quality import deviation
from ray_ue.progress import Progress
from ray_ue.sources import Shard, Source, open_source
from ray_ue.sources.image_files import LOSSY
from ray_ue.stages.protect.export import poison_here
from ray_ue.stages.protect.index import listed_source, rows_of
from ray_ue.stages.protect.ledger import in_order, ledger_name
from ray_ue.stages.protect.locations import NO_LABEL, SHOWN, Locations
from ray_ue.stages.protect.read import read_rows
from ray_ue.storage.artifacts import Artifact, Folder

LISTED_AT_ONCE = 16  # shards of the copy: listing them waits for disks and networks
PART = 256  # rows of one task
ROUNDED = 1  # levels that another processor may round a perturbation differently


class VerifyError(ValueError):
    """The copy is not what it should be; the message names the first offending keys."""


@dataclass(frozen=True, kw_only=True)
class Checker:
    """All that a task needs to compare some rows of the copy with their originals."""

    source: Source
    copy: Source
    index: Folder
    ledger: Folder
    poison: Folder
    limits: Limits
    resize: int
    levels: int
    lossless: bool
    threads: int
    classes: list[str]
    copied_classes: list[str]

    def fault(self, line: dict, before: bytes, label: str, after: bytes, copied: str) -> tuple[str, int]:
        """(what is wrong with one image of the copy, or nothing; its largest change in levels)."""
        if hashlib.sha256(after).hexdigest() != line["sha256"]:
            return "its bytes are not those that were written", 0
        if label != copied:
            return f"its label is {copied or 'missing'}, in the source {label or 'missing'}", 0
        try:
            clean, decoded = decode(before, limits=self.limits), decode(after, limits=self.limits)
        except Rejected as reason:
            return f"it cannot be read back: {reason}", 0
        if self.resize:
            clean = resized(clean, size=self.resize)
        if clean.rgb.shape != decoded.rgb.shape:
            return f"it is {decoded.rgb.shape[1]}x{decoded.rgb.shape[0]}, in the source {clean.rgb.shape[1]}x{clean.rgb.shape[0]}", 0
        most = deviation(clean.rgb, decoded.rgb)
        if self.lossless and most > self.levels:
            return f"it differs by {most} levels, the budget is {self.levels}", most
        if self.lossless:
            expected = poison_here(self.poison).apply(clean.rgb, line["slot"], key=line["key"])
            if (off := deviation(expected, decoded.rgb)) > ROUNDED:
                return f"it is not what its perturbation makes of the original: {off} levels off", most
        return "", most


def verify(run: Run, *, index: Artifact, exported: Artifact, poison: Artifact) -> dict:
    """Prove the copy: same ids, keys and labels, every checksum, and every image is what its perturbation makes of the original.

    A lossy format is held to nothing but checksums, and a copy in which no image changed is none. Raises `VerifyError`.

    Returns and stores (in the export's folder) how many images were compared and the largest change that was found.
    """
    recipe = run.recipe
    source = listed_source(run, index)
    copy = open_source(run.output.uri, format=source.format, carry=recipe.patterns())
    threads = run.machines.threads(run.resources, tasks=run.machines.cores)
    places = Locations.of(copy, threads=max(threads, LISTED_AT_ONCE))
    parts = match(index, exported, places)
    checker = Checker(
        source=source,
        copy=copy,
        index=index.folder,
        ledger=exported.folder,
        poison=poison.folder,
        limits=recipe.limits(),
        resize=recipe.resize,
        levels=poison.facts["most"],
        lossless=recipe.image_format not in LOSSY,
        threads=threads,
        classes=index.facts["classes"],
        copied_classes=copy.class_names(),
    )
    progress = Progress(stage="verify", total=exported.facts["images"])
    most, faults = 0, []
    shards = source.shards()
    items = [pack(places, shards[shard], begin, positions) for shard, begin, positions in parts]
    del places, parts
    for result in stream(items, work=check_rows, arguments={"checker": checker}, cpus=1, tasks=run.machines.slots()):
        faults += result["faults"]
        most = max(most, result["most"])
        progress.add(result["rows"])
    progress.close()
    if faults:
        raise VerifyError(f"{len(faults):,} images of {run.output.uri} are not as they should be: {'; '.join(sorted(faults)[:SHOWN])}")
    if not most:
        raise VerifyError(f"no image of {run.output.uri} differs from its original: nothing is protected")
    others = check_others(run, exported)
    facts = {"images": exported.facts["images"], "most_levels": most, "budget": poison.facts["most"], "other_files": others}
    exported.folder.write_json("verified.json", facts)
    return facts


def label_name(label: int | None, classes: list[str]) -> str:
    """The class's name where the layout gives names (a class without images left changes the numbers), else the number."""
    if label in (None, NO_LABEL):
        return ""
    return classes[label] if 0 <= label < len(classes) else str(label)


def match(index: Artifact, exported: Artifact, places: Locations) -> list[tuple[int, int, np.ndarray]]:
    """(source shard, first of its good lines, their places in the copy), at most PART lines each.

    Fails when names are missing, doubled or foreign.
    """
    parts: list[tuple[int, int, np.ndarray]] = []
    missing, doubled, total = Names(), Names(), 0
    for name in exported.folder.names("ledger"):
        shard = int(name.removesuffix(".parquet").rpartition("-")[2])
        lines = exported.folder.read_table(f"ledger/{ledger_name(shard)}")
        total += len(lines)
        positions, gone, twice = places.claim(good(lines)["name"].to_pylist())
        missing.add(gone)
        doubled.add(twice)
        parts += [(shard, begin, positions[begin : begin + PART]) for begin in range(0, len(positions), PART)]
    missing.refuse("are missing from the copy")
    doubled.refuse("were written under a name that another one has")
    count, some = places.unclaimed()
    Names(count=count, some=some).refuse("are in the copy but were never written by this run")
    if total != index.facts["rows"]:
        raise VerifyError(f"the source has {index.facts['rows']:,} images, the ledger accounts for {total:,}")
    return parts


def good(lines: pa.Table) -> pa.Table:
    """The ledger's lines of images that are in the copy."""
    return lines.filter(lines["reason"].is_null())


@dataclass(kw_only=True)
class Names:
    """A number of names of which the first few are kept."""

    count: int = 0
    some: list[str] = field(default_factory=list)

    def add(self, names: list[str]) -> None:
        self.count += len(names)
        self.some = sorted([*self.some, *names])[:SHOWN]

    def refuse(self, what: str) -> None:
        if self.count:
            raise VerifyError(f"{self.count:,} images {what}: {', '.join(self.some)}{', …' if self.count > len(self.some) else ''}")


def pack(places: Locations, shard: Shard, begin: int, positions: np.ndarray) -> dict:
    """One task: a source shard, the first of its good lines to check, and where each of them lies in the copy."""
    at = places.at[positions]
    needed = {int(number): places.shards[number] for number in np.unique(at["shard"])}
    return {"work": pickle.dumps((shard, begin, at, needed))}


def check_rows(batch: pa.Table, *, checker: Checker) -> Iterator[pa.Table]:
    """Compare each line's original with its copy."""
    for packed in batch["work"].to_pylist():
        shard, begin, at, needed = pickle.loads(packed)  # noqa: S301 - made by the driver of this run
        part = good(checker.ledger.read_table(f"ledger/{ledger_name(shard.number)}")).slice(begin, len(at)).to_pylist()
        rows = rows_of(checker.index, shard.number)
        keys = {key: row for row, key in enumerate(rows["key"].to_pylist())}
        wanted = [keys[line["key"]] for line in part]
        before = read_rows(checker.source, shard, rows, wanted)
        after = read_places(checker.copy, needed, at)
        labels = rows["label"].take(wanted).to_pylist()
        ours = [label_name(label, checker.classes) for label in labels]
        theirs = [label_name(label, checker.copied_classes) for label in at["label"].tolist()]
        tasks = zip(part, before, ours, after, theirs, strict=True)
        with ThreadPoolExecutor(checker.threads) as pool:
            results = list(in_order(pool, lambda task: checker.fault(*task), tasks, ahead=2 * checker.threads))
        faults = [f"{line['key']}: {fault}" for line, (fault, _) in zip(part, results, strict=True) if fault]
        most = max((change for _, change in results), default=0)
        yield pa.table({"rows": [len(part)], "most": [most], "faults": pa.array([faults], pa.list_(pa.string()))})


def read_places(copy: Source, needed: dict[int, Shard], at: np.ndarray) -> Iterator[bytes]:
    """The bytes at places of the copy, which may lie in several of its shards."""
    edges = np.flatnonzero((np.diff(at["shard"]) != 0) | (np.diff(at["row"]) != 1)) + 1
    for begin, end in pairwise([0, *edges.tolist(), len(at)]):
        run = at[begin:end]
        table = pa.table(
            {"key": pa.array([""] * len(run)), "label": pa.nulls(len(run), pa.int64()), "offset": run["offset"], "size": run["size"]}
        )
        yield from copy.read(needed[int(run["shard"][0])], table)


def check_others(run: Run, exported: Artifact) -> int:
    """Every file that is no image lies in the copy with the bytes that were read from the source; returns their number."""
    count, wrong = 0, []
    for part in exported.folder.names("others"):
        for line in exported.folder.read_table(f"others/{part}").to_pylist():
            count += 1
            if not run.output.exists(line["name"]) or digest(run.output, line["name"]) != line["sha256"]:
                wrong.append(line["name"])
    if wrong:
        raise VerifyError(f"{len(wrong):,} files that are no images are missing or changed: {', '.join(wrong[:SHOWN])}")
    return count


def digest(folder: Folder, name: str) -> str:
    with folder.reading(name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
