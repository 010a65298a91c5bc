"""What a run would do to the copy that is there already, for its plan."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from ray_ue.config.job import Job
from ray_ue.images.broken import Rejected
from ray_ue.images.codec import Limits, decode
from ray_ue.pipelines.claim import CLAIM, PRIVATE, is_copy
from ray_ue.pipelines.earlier import KEPT, other_defaults
from ray_ue.pipelines.generations import History, changes, has_images, strangers
from ray_ue.progress import counted
from ray_ue.sources import Source, open_source
from ray_ue.sources.naming import group, parents, printable, some
from ray_ue.stages.protect.damage import TAKE_OUT
from ray_ue.stages.protect.ledger import digest_of
from ray_ue.stages.protect.locations import rows_or_none
from ray_ue.stages.protect.rejected import allowed
from ray_ue.storage.artifacts import Folder

READ = 2**30  # bytes of a copy whose checksums a plan compares: some seconds

SAME_NAMES = "a file of the same name and another size replaces the one that is there, one of the same size counts as the same"
WAITING = "they come with the next picture that joins"
COPIED = "{} is a protected copy: a second change adds to the first; protect the originals instead"


def copied_twice(job: Job) -> str:
    """A warning where the source is a copy itself or holds copies, else nothing."""
    if is_copy(job.source.address):
        return COPIED.format(job.source.address)
    claims = (PurePosixPath(name) for name, _ in job.source.left_out() if name.endswith(f"{PRIVATE}/{CLAIM}"))
    held = sorted(str(claim.parent).removesuffix(PRIVATE) for claim in claims)
    return f"in the source, {COPIED.format(', '.join(held))} (move it elsewhere)" if held else ""


def moved(job: Job) -> str:
    """A warning where a copy was made from another source, else nothing: it may have been moved, or be another collection."""
    before = job.work.read_json(CLAIM)["source"] if job.work.exists(CLAIM) else job.source.address
    if before == job.source.address:
        return ""
    if job.anew:
        return f"the copy was made from {before}, and is made anew from {job.source.address}: what was in it is replaced"
    return f"the copy was made from {before}, and goes on from {job.source.address}: {SAME_NAMES}"


def refuse_many_gone(job: Job, gone: Sequence[str], *, files: int) -> None:
    """Refuse to take more of a copy's `files` out than `job.max_gone` allows, as if a disk were not there or the folder another one."""
    if len(gone) > allowed(files, job.max_gone):
        raise ValueError(
            f"{len(gone):,} of {files:,} files of the copy are no longer in {job.source.address} ({some(group([*map(printable, gone)]))}), "
            f"more than --max-gone {job.max_gone:g} lets --{'prune' if job.prune else 'anew'} remove: is it the right folder, and is every "
            f"disk there? If they are to go, say --max-gone 1"
        )


def refuse_removals(job: Job) -> None:
    """Refuse a run that would take out too much of a copy that is there."""
    if (job.prune or job.anew) and job.work.exists(CLAIM):
        gone, files = removals(job)
        refuse_many_gone(job, gone, files=files)


def refuse_saved_again(job: Job) -> None:
    """Refuse a data set that `save_to_disk` has written again in other files: those that the copy would keep are no part of it any more."""
    if job.source.format != "arrow" or job.anew or job.prune or not job.work.exists(CLAIM):
        return
    gone = [path for path in changes(job.source, History.of(job)).gone if path.lower().endswith(".arrow")]
    if gone:
        raise ValueError(
            f"the data set was saved again without {some(group([*map(printable, gone)]))}, and a copy that kept what is gone could not be "
            "read as one: take it out with --prune --max-gone 1, or make the copy anew with --anew --max-gone 1"
        )


def removals(job: Job) -> tuple[tuple[str, ...], int]:
    """The files of a copy that are gone from the source, and how many it was made of; none where its private folder is not whole, as what
    is made anew needs nothing of it."""
    try:
        history = History.of(job)
        return changes(job.source, history).gone, len(history.files())
    except ValueError:
        if job.anew:
            return (), 0
        raise


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a run would find in the copy that is there: files that are new in the source, those gone from it, images missing or damaged.

    `files` is how many the copy was made of, `broken_kind` what is missing or damaged: images alone, or files beside them as well.
    `waiting` are the new files if no image is among them: they come with the next one that joins. `lost` are the broken ones whose
    originals are gone, so that nothing can write them again; `foreign` are images that lie in the copy and that no run has written;
    `rejected` are the keys of those that earlier runs have left out, and `kept` is what this version would make otherwise.
    """

    fresh: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    files: int = 0
    broken: tuple[str, ...] = ()
    broken_kind: str = "image"
    lost: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    kept: str = ""

    @classmethod
    def of(cls, job: Job) -> "Standing":
        if not job.work.exists(CLAIM):
            return cls()
        history = History.of(job)
        if not history.generations:
            return cls()
        if job.anew:
            gone, files = removals(job)
            return cls(gone=tuple(map(printable, gone)), files=files)
        changed, files = changes(job.source, history), len(history.files())
        history.refuse_lost_files()
        gone, fresh = (tuple(map(printable, names)) for names in (changed.gone, changed.fresh))
        replaced = {*fresh, *(gone if job.prune else ())}
        broken = [line for line in damaged(job, history) if line["key"] not in replaced] if job.output.local else []
        lost = tuple(line["name"] for line in broken if line["key"] in gone)
        foreign = strangers(job.source, copy, history, changed.fresh) if (copy := folder_of(job.output)) else ()
        waiting = () if has_images(job.source, changed.fresh) else fresh  # beside pictures they come with them
        told = {"broken": tuple(line["name"] for line in broken), "lost": lost, "foreign": foreign, "rejected": history.rejected()}
        told |= {"kept": other_defaults(job, history)}
        kind = "image" if all("pixels" in line for line in broken) else "file"
        return cls(fresh=fresh, waiting=waiting, gone=gone, files=files, broken_kind=kind, **told)

    def lines(self, job: Job) -> dict[str, str]:
        """For people, by the names of the plan's lines; and a warning where the source is a copy itself."""
        lines = {"warning": "; ".join(told)} if (told := [text for text in (copied_twice(job), moved(job)) if text]) else {}
        if self.kept:
            lines["kept"] = KEPT.format(self.kept)
        if self.waiting:
            lines["waiting"] = (
                f"{counted(len(self.waiting), 'file')} beside the images new or changed ({some(group(self.waiting))}): {WAITING}"
            )
        elif self.fresh:
            lines["join"] = f"{counted(len(self.fresh), 'file')} new or changed ({some(group(self.fresh))})"
        if self.gone:
            fate = "to be removed from the copy" if job.prune or job.anew else "kept in the copy, --prune removes what is gone"
            lines["gone"] = f"{counted(len(self.gone), 'file')} of the copy no longer in the source ({some(group(self.gone))}): {fate}"
        if self.broken:
            told = f"{counted(len(self.broken), self.broken_kind)} of the copy missing or damaged ({some(group(self.broken))})"
            lines["mend"] = f"{told}: {'see below' if self.lost else 'to be written again'}"
        return lines

    def refuse_lost(self) -> None:
        """Refuse a run that could not mend the copy."""
        if self.lost:
            raise ValueError(
                f"{counted(len(self.lost), self.broken_kind)} missing from the copy or damaged, without an original in the source "
                f"({some(group(self.lost))}): put the originals back, or let --prune take what is gone out of the copy"
            )

    def refuse_gone(self, job: Job) -> None:
        """Refuse a run that would take out too much of the copy."""
        if job.prune or job.anew:
            refuse_many_gone(job, self.gone, files=self.files)

    def refuse_foreign(self) -> None:
        """Refuse a run that would end with a copy which holds more than what was protected."""
        if self.foreign:
            names = group([*map(printable, self.foreign)])
            raise ValueError(f"{counted(len(self.foreign), 'image')} in the copy that no run wrote ({some(names)}): {TAKE_OUT}")


def folder_of(output: Folder, *, format: str = "folder") -> Source | None:
    """The files of a local copy, in that format; None where there is none."""
    try:
        return open_source(output.uri, format=format) if output.local else None
    except ValueError:
        return None


def damaged(job: Job, history: History) -> Iterator[dict]:
    """The ledger's lines of files that are not in the copy, or not as they were written; none of a packed file that can be read.

    Of files of the size that they should have the first `READ` bytes are read.
    """
    root, read, torn = Path(job.output.uri), 0, damaged_packs(job)
    for line in chain(history.written(("key", "name", "bytes", "sha256", "pixels")), history.others()):
        path = root / line["name"]
        if not path.is_file():
            pack = next((above for above in parents(line["name"]) if (root / above).is_file()), None)
            yield from (line,) if pack is None or pack in torn else ()
            continue
        size = path.stat().st_size
        read += size
        if (size != line["bytes"] or read <= READ) and not is_whole(path, line, job.recipe.limits()):
            yield line


def damaged_packs(job: Job) -> set[str]:
    """The packed files of a local copy, of its first `READ` bytes, that cannot be read."""
    if job.source.format == "folder" or (copy := folder_of(job.output, format=job.source.format)) is None:
        return set()
    read, torn = 0, set[str]()
    for shard in copy.shards():
        if not shard.files and (read := read + shard.size) <= READ and rows_or_none(copy, shard) is None:
            torn.add(shard.path)
    return torn


def is_whole(path: Path, line: dict, limits: Limits) -> bool:
    """Whether a file holds the bytes that the ledger's line says, or at least their pixels, where it is an image."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() == line["sha256"]:
        return True
    if "pixels" not in line:
        return False
    try:
        return digest_of(decode(data, limits=limits, moving=True)) == line["pixels"]
    except Rejected:
        return False
