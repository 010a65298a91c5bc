"""Verify: read the whole copy back and compare it, image by image, with the ledger, and with the source where that is there."""

import errno
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ray_ue.engine.session import stream
from ray_ue.engine.stage import Run
from ray_ue.images.memory import READING
from ray_ue.progress import Progress, counted, say
from ray_ue.sources import FORMATS, Shard, Source, open_source
from ray_ue.sources.image_files import LOSSY
from ray_ue.sources.naming import group, printable, some
from ray_ue.stages.protect.comparison import Checker, check_rows, pack
from ray_ue.stages.protect.damage import TAKE_OUT, Names, Part, VerifyError, Wrong, all_written, refuse_lost_ledger, shard_of
from ray_ue.stages.protect.index import listed_source
from ray_ue.stages.protect.ledger import largest_of, ledger_name, live
from ray_ue.stages.protect.locations import SHOWN, Locations
from ray_ue.stages.protect.memory import share_out
from ray_ue.storage.artifacts import Artifact, Folder

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
LISTED_AT_ONCE = 16  # shards of the copy: listing them waits for disks and networks
PART = 256  # rows of one task


def verify(run: Run, parts: Sequence[Part]) -> dict:
    """Prove the copy: same ids, keys and labels, every checksum, and every image is what its perturbation makes of the original.

    Where an original is gone or has changed since, the ledger stands for it: checksums of the file, or else of its pixels. A lossy
    format is held to checksums alone, and a copy in which no image changed is none. Raises `VerifyError`.

    Returns and stores (in the last export's folder) how many images were compared and the largest change that was found.
    """
    copy = open_written(run, parts)
    places = Locations.of(copy, threads=LISTED_AT_ONCE)
    work = [(part, *match(part, places)) for part in parts]
    count, first = places.unclaimed()
    foreign = Names(count=count, some=first)
    there = files_of(run.source, parts)
    progress = Progress(stage="verify", total=sum(len(positions) for _, tasks, _ in work for _, _, positions in tasks))
    facts, faults, missing, damage = {"images": 0, "most_levels": 0, "originals": 0, "saved_anew": 0}, [], Names(), Wrong()
    for part, tasks, absent in work:
        for shard, names in absent.items():
            damage.add(part, shard, names)
            missing.add(names)
        side_by_side, threads = share_out(
            run.machines,
            run.resources,
            tasks=len(tasks),
            per_pixel=READING,
            limits=run.recipe.limits(),
            largest=partial(largest_of, part.exported.folder),
        )
        checker = checker_of(run, part, copy=copy, threads=threads, missing=frozenset().union(*absent.values()))
        shards = checker.source.shards()
        gone = {number: gone_from(shards[number], there) for number, _, _ in tasks}
        items = [pack(places.shards, shards[number], begin, places.at[at], gone=gone[number]) for number, begin, at in tasks]
        for result in stream(items, work=check_rows, arguments={"checker": checker}, cpus=1, tasks=side_by_side):
            faults += result["faults"]
            damage.add(part, result["shard"], result["wrong"])
            facts["most_levels"] = max(facts["most_levels"], result["most"])
            for name, column in (("images", "rows"), ("originals", "originals"), ("saved_anew", "saved_anew")):
                facts[name] += result[column]
            progress.add(result["rows"])
    progress.close()
    others = check_others(run, parts, damage)
    told = [f"{counted(len(places.damaged), 'file')} of {run.output.uri} damaged: {some(group(places.damaged))}"] if places.damaged else []
    told += [missing.text("missing from the copy")] if missing.count else []
    told += [f"{foreign.text('in the copy that no run wrote')}: {TAKE_OUT}"] if foreign.count else []
    if faults:
        shown = "; ".join(sorted(faults)[:SHOWN])
        told.append(f"{counted(len(faults), 'image')} of {run.output.uri} not as written: {shown}")
    if others.wrong:
        shown = ", ".join(others.wrong[:SHOWN])
        told.append(f"{counted(len(others.wrong), 'file')} beside the images missing or changed: {shown}")
    if told:
        raise VerifyError("; ".join(told), damage.frozen())
    if not facts["most_levels"]:
        raise VerifyError(f"no image of {run.output.uri} differs from its original: nothing is protected")
    facts |= {"budget": parts[-1].poison.facts["most"], "other_files": others.count}
    try:
        parts[-1].exported.folder.write_json("verified.json", facts)
    except OSError as error:  # of an archive on a medium that cannot be written
        if error.errno not in READ_ONLY:
            raise
        say(f"  warning  the proof holds, and is not kept: {error.strerror}")
    return facts


def checker_of(run: Run, part: Part, *, copy: Source, threads: int, missing: frozenset[str]) -> Checker:
    recipe = run.recipe
    return Checker(
        source=listed_source(run, part.index),
        copy=copy,
        index=part.index.folder,
        ledger=part.exported.folder,
        poison=part.poison.folder,
        limits=recipe.limits(),
        resize=recipe.resize,
        levels=part.poison.facts["most"],
        lossless=recipe.image_format not in LOSSY,
        threads=threads,
        classes=part.index.facts["classes"],
        copied_classes=classes_in(copy, part),
        replaced=part.replaced,
        missing=missing,
    )


def classes_in(copy: Source, part: Part) -> list[str]:
    """The classes' names as the copy has them; those that were written, where the file that holds them is damaged."""
    try:
        return copy.class_names()
    except ValueError:
        return part.index.facts["classes"]


def open_written(run: Run, parts: Sequence[Part]) -> Source:
    """The copy as it lies in the output; a `VerifyError` if there is none."""
    try:
        return open_source(run.output.uri, format=format_of(parts[0].index), carry=run.recipe.patterns())
    except ValueError as error:
        told = f"{run.output.uri} holds no copy any more; the line that protected it writes it again"
        raise VerifyError(told, all_written(parts)) from error


def format_of(index: Artifact) -> str:
    """The format of the source that was listed."""
    return next(name for name, kind in FORMATS.items() if kind.identity == index.manifest.fields["format"])


def files_of(source: Source, parts: Sequence[Part]) -> frozenset[tuple[str, int]] | None:
    """(path, size) of the files that are in the source now; None for all that were listed, where nothing has changed since."""
    if len(parts) == 1 and source.digest() == parts[0].index.manifest.fields["listing"]:
        return None
    return frozenset(source.files())


def gone_from(shard: Shard, files: frozenset[tuple[str, int]] | None) -> frozenset[str] | None:
    """The keys of a shard's images whose originals are not in the source as they were; None for all, in a packed one."""
    if files is None:
        return frozenset()
    if shard.files:
        return frozenset(printable(file.path) for file in shard.files if file.is_image and (file.path, file.size) not in files)
    return frozenset() if (shard.path, shard.size) in files else None


def match(part: Part, places: Locations) -> tuple[list[tuple[int, int, np.ndarray]], dict[int, list[str]]]:
    """(source shard, first of its live lines, their places in the copy), at most PART lines each; and by shard the names that are missing.

    Fails when names are doubled, or the ledger does not account for every image.
    """
    tasks: list[tuple[int, int, np.ndarray]] = []
    missing, doubled, total = dict[int, list[str]](), Names(), 0
    for name in part.exported.folder.names("ledger"):
        shard = shard_of(name)
        lines = part.exported.folder.read_table(f"ledger/{ledger_name(shard)}")
        total += len(lines)
        positions, gone, twice = places.claim(live(lines, replaced=part.replaced)["name"].to_pylist())
        missing |= {shard: gone} if gone else {}
        doubled.add(twice)
        tasks += [(shard, begin, positions[begin : begin + PART]) for begin in range(0, len(positions), PART)]
    doubled.refuse("written under a name that another one has")
    refuse_lost_ledger(part, total)
    return tasks, missing


@dataclass(frozen=True, kw_only=True)
class Others:
    """How many files beside the images a copy should hold, and the names of those that it does not hold as they were written."""

    count: int
    wrong: list[str]


def check_others(run: Run, parts: Sequence[Part], damage: Wrong) -> Others:
    """Compare every file that is no image with the checksum of what was written."""
    count, wrong = 0, []
    for part in parts:
        for name in part.exported.folder.names("others"):
            for line in part.exported.folder.read_table(f"others/{name}").to_pylist():
                if line["name"] in part.replaced:
                    continue
                count += 1
                if not run.output.exists(line["name"]) or digest(run.output, line["name"]) != line["sha256"]:
                    wrong.append(line["name"])
                    damage.add(part, shard_of(name), [line["name"]])
    return Others(count=count, wrong=wrong)


def digest(folder: Folder, name: str) -> str:
    with folder.reading(name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
