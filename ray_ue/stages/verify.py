"""Verify: read the whole copy back as a stranger would and compare it, image by image, with the source and the ledger."""

import hashlib
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ray_ue.artifacts import Artifact, Folder
from ray_ue.budget import deviation
from ray_ue.images import Limits, Rejected, decode, resized
from ray_ue.progress import Progress
from ray_ue.sources import Shard, Source, open_source
from ray_ue.stages.base import Run
from ray_ue.stages.index import rows_of
from ray_ue.stages.ledger import in_order, ledger_name
from ray_ue.stages.session import stream

SHOWN = 5  # offending keys in the error
PART = 256  # rows of one task


class VerifyError(ValueError):
    """The copy is not what it should be; the message names the first offending keys."""


@dataclass(frozen=True, kw_only=True)
class Checker:
    """All that a task needs to compare some rows of the copy with their originals."""

    source: Source
    copy: Source
    index: Folder
    ledger: Folder
    limits: Limits
    resize: int
    levels: int
    lossless: bool
    threads: int
    classes: list[str]

    def fault(self, line: dict, before: bytes, label: str, after: bytes, copied: str) -> tuple[str, int]:
        """(what is wrong with one image of the copy, or nothing; its largest change in levels)."""
        if hashlib.sha256(after).hexdigest() != line["sha256"]:
            return "its bytes are not those that were written", 0
        if label != copied:
            return f"its label is {copied or 'missing'}, in the source {label or 'missing'}", 0
        try:
            clean, shown = decode(before, limits=self.limits), decode(after, limits=self.limits)
        except Rejected as reason:
            return f"it cannot be read back: {reason}", 0
        if self.resize:
            clean = resized(clean, size=self.resize)
        if clean.rgb.shape != shown.rgb.shape:
            return f"it is {shown.rgb.shape[1]}x{shown.rgb.shape[0]}, in the source {clean.rgb.shape[1]}x{clean.rgb.shape[0]}", 0
        most = deviation(clean.rgb, shown.rgb)
        if self.lossless and most > self.levels:
            return f"it differs by {most} levels, the budget is {self.levels}", most
        return "", most


def verify(run: Run, *, index: Artifact, exported: Artifact, poison: Artifact) -> dict:
    """Prove the copy: same ids, keys and labels, every checksum, every change within the poison's bound. Raises `VerifyError`.

    Returns and stores (beside the export's manifest) how many images were compared and the largest change that was found.
    """
    recipe = run.recipe
    source = open_source(run.source, format=recipe.format)
    copy = open_source(run.output.uri, format=source.format)
    found = listed(copy)
    pairs = match(index, exported, found)
    checker = Checker(
        source=source,
        copy=copy,
        index=index.folder,
        ledger=exported.folder,
        limits=recipe.limits(),
        resize=recipe.resize,
        levels=poison.facts["most"],
        lossless=recipe.image_format != "jpeg",
        threads=run.machines.threads(run.resources, tasks=run.machines.cores),
        classes=source.class_names(),
    )
    progress = Progress(stage="verify", total=exported.facts["images"])
    most, faults = 0, []
    shards, copies = source.shards(), copy.shards()
    items = [pack(shards, copies, found, shard, part) for shard, part in pairs]
    for result in stream(items, work=check_rows, arguments={"checker": checker}, cpus=1, tasks=run.machines.slots()):
        faults += result["faults"]
        most = max(most, result["most"])
        progress.add(result["rows"])
    progress.close()
    if faults:
        raise VerifyError(f"{len(faults):,} images of {run.output.uri} are not as they should be: {'; '.join(sorted(faults)[:SHOWN])}")
    others = check_others(run, exported)
    facts = {"images": exported.facts["images"], "most_levels": most, "budget": poison.facts["most"], "other_files": others}
    exported.folder.write_json("verified.json", facts)
    return facts


def listed(copy: Source) -> dict[str, tuple[int, int, str, int, int]]:
    """name in the copy -> (shard, row, label's name, offset, size), from a fresh listing that knows nothing of the export."""
    found, classes = {}, copy.class_names()
    for shard in copy.shards():
        rows = copy.rows(shard)
        for row, line in enumerate(rows.to_pylist()):
            found[line["key"]] = (shard.number, row, label_name(line["label"], classes), line["offset"], line["size"])
    return found


def label_name(label: int | None, classes: list[str]) -> str:
    """The class's name where the layout gives names (a class without images left changes the numbers), else the number."""
    if label is None:
        return ""
    return classes[label] if 0 <= label < len(classes) else str(label)


def match(index: Artifact, exported: Artifact, found: dict) -> list[tuple[int, list[dict]]]:
    """The ledger's lines in parts of one source shard each; fails when names are missing, doubled or foreign."""
    parts: list[tuple[int, list[dict]]] = []
    names: set[str] = set()
    total = 0
    for ledger in exported.folder.names("ledger"):
        lines = exported.folder.read_table(f"ledger/{ledger}").to_pylist()
        total += len(lines)
        good = [line for line in lines if line["reason"] is None]
        shard = int(ledger.removesuffix(".parquet").rpartition("-")[2])
        assert ledger == ledger_name(shard)
        names.update(line["name"] for line in good)
        parts += [(shard, good[i : i + PART]) for i in range(0, len(good), PART)]
    refuse(sorted(names - found.keys()), "are missing from the copy")
    refuse(sorted(found.keys() - names), "are in the copy but were never written by this run")
    if total != index.facts["rows"]:
        raise VerifyError(f"the source has {index.facts['rows']:,} images, the ledger accounts for {total:,}")
    if len(names) != sum(len(part) for _, part in parts):
        raise VerifyError("two images were written under one name")
    return parts


def refuse(names: list[str], what: str) -> None:
    if names:
        raise VerifyError(f"{len(names):,} images {what}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}")


def pack(shards: list[Shard], copies: list[Shard], found: dict, shard: int, part: list[dict]) -> dict:
    """One task: the lines to check, their source shard, and where each lies in the copy."""
    places = [found[line["name"]] for line in part]
    needed = {place[0]: copies[place[0]] for place in places}
    return {"work": pickle.dumps((shards[shard], part, places, needed))}


def check_rows(batch: pa.Table, *, checker: Checker) -> Iterator[pa.Table]:
    """Compare each line's original with its copy."""
    for packed in batch["work"].to_pylist():
        shard, part, places, needed = pickle.loads(packed)  # noqa: S301 - made by the driver of this run
        rows = rows_of(checker.index, shard.number)
        keys = {key: row for row, key in enumerate(rows["key"].to_pylist())}
        before = read_rows(checker.source, shard, rows, [keys[line["key"]] for line in part])
        after = read_places(checker.copy, needed, places)
        labels = [label_name(label, checker.classes) for label in rows["label"].to_pylist()]
        tasks = ((line, old, labels[keys[line["key"]]], new, place[2]) for line, old, new, place in zip(part, before, after, places))
        with ThreadPoolExecutor(checker.threads) as pool:
            seen = list(in_order(pool, lambda task: checker.fault(*task), tasks, ahead=2 * checker.threads))
        faults = [f"{line['key']}: {fault}" for line, (fault, _) in zip(part, seen) if fault]
        most = max((most for _, most in seen), default=0)
        yield pa.table({"rows": [len(part)], "most": [most], "faults": pa.array([faults], pa.list_(pa.string()))})


def read_rows(source: Source, shard: Shard, rows: pa.Table, wanted: list[int]) -> Iterator[bytes]:
    """The bytes of some rows of a shard in the order asked for, by contiguous runs."""
    edges = [0, *(np.flatnonzero(np.diff(wanted) != 1) + 1).tolist(), len(wanted)]
    for begin, end in pairwise(edges):
        if end > begin:
            yield from source.read(shard, rows.slice(wanted[begin], end - begin))


def read_places(copy: Source, needed: dict[int, Shard], places: list[tuple]) -> Iterator[bytes]:
    """The bytes at places of the copy, which may lie in several of its shards."""
    edges = [i for i in range(1, len(places)) if places[i][0] != places[i - 1][0] or places[i][1] != places[i - 1][1] + 1]
    for begin, end in pairwise([0, *edges, len(places)]):
        run = places[begin:end]
        table = pa.table(
            {
                "key": pa.array([""] * len(run)),
                "label": pa.nulls(len(run), pa.int64()),
                "offset": pa.array([place[3] for place in run], pa.int64()),
                "size": pa.array([place[4] for place in run], pa.int64()),
            }
        )
        yield from copy.read(needed[run[0][0]], table)


def check_others(run: Run, exported: Artifact) -> int:
    """Every file that is no image lies in the copy with the bytes that were read from the source; returns their number."""
    count, wrong = 0, []
    for part in exported.folder.names("others"):
        for line in exported.folder.read_table(f"others/{part}").to_pylist():
            count += 1
            if not run.output.exists(line["name"]) or digest(run.output, line["name"]) != line["sha256"]:
                wrong.append(line["name"])
    if wrong:
        raise VerifyError(f"{len(wrong):,} files beside the images are missing or changed: {', '.join(wrong[:SHOWN])}")
    return count


def digest(folder: Folder, name: str) -> str:
    with folder.reading(name) as file:
        total = hashlib.sha256()
        while block := file.read(2**20):
            total.update(block)
        return total.hexdigest()
