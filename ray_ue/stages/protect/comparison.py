"""Comparison: one image of a copy against its line of the ledger, and against its original where that is there."""

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ray_ue.images.codec import Limits, Picture, Rejected, decode, resized
from ray_ue.images.metadata import FRAMES_DROPPED
from ray_ue.images.quality import deviation
from ray_ue.sources import Shard, Source
from ray_ue.stages.protect.index import rows_of
from ray_ue.stages.protect.ledger import digest_of, in_order, ledger_name, live
from ray_ue.stages.protect.locations import NO_LABEL
from ray_ue.stages.protect.read import read_rows
from ray_ue.stages.protect.writer import perturbed, poison_here
from ray_ue.storage.artifacts import Folder

MOST_BYTES = 2**40  # of a file of the copy, which we have written: as many as its pixels need
ROUNDED = 1  # levels that another processor may round a perturbation differently
RESULT = {"shard": pa.int64(), "rows": pa.int64(), "most": pa.int64(), "originals": pa.int64(), "saved_anew": pa.int64()}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong with one image, or nothing; its largest change in levels; whether its file was saved anew with the same pixels, and
    whether it was compared with its original."""

    fault: str = ""
    most: int = 0
    saved_anew: bool = False
    proved: bool = False


@dataclass(frozen=True, kw_only=True)
class Checker:
    """All that a task needs to compare some rows of the copy with the ledger and with their originals; `missing` have no file."""

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
    replaced: frozenset[str]
    missing: frozenset[str] = frozenset()

    def check(self, line: dict, before: bytes | None, label: str, after: bytes, copied: str) -> Finding:
        """Compare one image of the copy; `before` is None where the original is not there, and the ledger stands for it, as it does for an
        original that cannot be read any more."""
        if label != copied:
            return Finding(fault=f"its label is {copied or 'missing'}, in the source {label or 'missing'}")
        same = hashlib.sha256(after).hexdigest() == line["sha256"]
        moving = FRAMES_DROPPED not in (line.get("notes") or ())
        clean = None if before is None else self.original(before, moving=moving)
        if same and clean is None:
            return Finding(most=line["most"])
        try:
            decoded = decode(after, limits=replace(self.limits, max_bytes=MOST_BYTES), moving=moving)
        except Rejected as reason:
            return Finding(fault=f"it cannot be read back: {reason}")
        if not same and digest_of(decoded) != line.get("pixels"):
            return Finding(fault="its pixels are not those that were written")
        if clean is None:
            return Finding(most=line["most"], saved_anew=not same)
        fault, most = self.compare(line, clean, decoded)
        return Finding(fault=fault, most=most, saved_anew=not same, proved=True)

    def original(self, data: bytes, *, moving: bool) -> Picture | None:
        """The pixels that were protected; None if they cannot be read any more."""
        try:
            clean = decode(data, limits=self.limits, moving=moving)
        except Rejected:
            return None
        return resized(clean, size=self.resize) if self.resize else clean

    def compare(self, line: dict, clean: Picture, decoded: Picture) -> tuple[str, int]:
        """(what is wrong with the pixels, or nothing; their largest change in levels)."""
        if clean.rgb.shape != decoded.rgb.shape:
            return f"it is {decoded.rgb.shape[1]}x{decoded.rgb.shape[0]}, in the source {clean.rgb.shape[1]}x{clean.rgb.shape[0]}", 0
        before, after = clean.frames(), decoded.frames()
        if len(before) != len(after):
            return f"it has {len(after)} frames, in the source {len(before)}", 0
        most = max(deviation(*pair) for pair in zip(before, after))
        if self.lossless and most > self.levels:
            return f"it differs by {most} levels, the budget is {self.levels}", most
        if self.lossless:
            expected = perturbed(clean, poison_here(self.poison), line["slot"], key=line["key"]).frames()
            if (off := max(deviation(*pair) for pair in zip(expected, after))) > ROUNDED:
                return f"it is not what its perturbation makes of the original: {off} levels off", most
        return "", most


def label_name(label: int | None, classes: list[str]) -> str:
    """The class's name where the layout gives names (a class without images left changes the numbers), else the number."""
    if label in (None, NO_LABEL):
        return ""
    return classes[label] if 0 <= label < len(classes) else str(label)


def pack(shards: Sequence[Shard], shard: Shard, begin: int, at: np.ndarray, *, gone: frozenset[str] | None) -> dict:
    """One task: a source shard, the first of its good lines to check, where each lies in the copy, and the keys whose originals are gone.

    `gone` is None where all are.
    """
    needed = {int(number): shards[number] for number in np.unique(at["shard"])}
    return {"work": pickle.dumps((shard, begin, at, needed, gone))}


def check_rows(batch: pa.Table, *, checker: Checker) -> Iterator[pa.Table]:
    """Compare each line with its copy, and with its original."""
    for packed in batch["work"].to_pylist():
        shard, begin, at, needed, gone = pickle.loads(packed)  # noqa: S301 - made by the driver of this run
        lines = live(checker.ledger.read_table(f"ledger/{ledger_name(shard.number)}"), replaced=checker.replaced)
        if checker.missing:
            lines = lines.filter(pa.array([name not in checker.missing for name in lines["name"].to_pylist()], pa.bool_()))
        part = lines.slice(begin, len(at)).to_pylist()
        rows = rows_of(checker.index, shard.number)
        keys = {key: row for row, key in enumerate(rows["key"].to_pylist())}
        wanted = [keys[line["key"]] for line in part]
        is_here = [gone is not None and line["key"] not in gone for line in part]
        originals = read_rows(checker.source, shard, rows, [row for row, here in zip(wanted, is_here) if here])
        before = (next(originals) if here else None for here in is_here)
        after = read_places(checker.copy, needed, at)
        labels = rows["label"].take(wanted).to_pylist()
        ours = [label_name(label, checker.classes) for label in labels]
        theirs = [label_name(label, checker.copied_classes) for label in at["label"].tolist()]
        tasks = zip(part, before, ours, after, theirs, strict=True)
        with ThreadPoolExecutor(checker.threads) as pool:
            findings = list(in_order(pool, lambda task: checker.check(*task), tasks, ahead=2 * checker.threads))
        bad = [(line, finding.fault) for line, finding in zip(part, findings, strict=True) if finding.fault]
        said = {"faults": [f"{line['name']}: {fault}" for line, fault in bad], "wrong": [line["name"] for line, _ in bad]}
        most = max((finding.most for finding in findings), default=0)
        proved, saved_anew = (sum(getattr(finding, name) for finding in findings) for name in ("proved", "saved_anew"))
        counts = (shard.number, len(part), most, proved, saved_anew)
        columns = {name: pa.array([count], kind) for (name, kind), count in zip(RESULT.items(), counts, strict=True)}
        yield pa.table(columns | {name: pa.array([texts], pa.list_(pa.string())) for name, texts in said.items()})


def read_places(copy: Source, needed: dict[int, Shard], at: np.ndarray) -> Iterator[bytes]:
    """The bytes at places of the copy, which may lie in several of its shards."""
    edges = np.flatnonzero((np.diff(at["shard"]) != 0) | (np.diff(at["row"]) != 1)) + 1
    for begin, end in pairwise([0, *edges.tolist(), len(at)]):
        run = at[begin:end]
        table = pa.table(
            {"key": pa.array([""] * len(run)), "label": pa.nulls(len(run), pa.int64()), "offset": run["offset"], "size": run["size"]}
        )
        yield from copy.read(needed[int(run["shard"][0])], table)
