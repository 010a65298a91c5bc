"""What a run would do to the copy that is there already, for its plan."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ray_ue.config.job import Job
from ray_ue.images.broken import Rejected
from ray_ue.images.codec import Limits, decode
from ray_ue.pipelines.claim import CLAIM, is_copy
from ray_ue.progress import counted
from ray_ue.sources.naming import group, printable, some
from ray_ue.stages.protect.ledger import digest_of

if TYPE_CHECKING:
    from ray_ue.pipelines.generations import History

READ = 2**30  # bytes of a copy whose checksums a plan compares: some seconds

COPIED = "{} is a protected copy: a second change adds to the first; protect the originals instead"


def standing_lines(job: Job) -> dict[str, str]:
    """What a run would do to the copy that is there already, by the names of its files; and a warning where the source is a copy itself."""
    lines = {"warning": COPIED.format(job.source.address)} if is_copy(job.source.address) else {}
    if job.anew or not job.work.exists(CLAIM):
        return lines
    from ray_ue.pipelines.generations import History, changes  # imports Ray, which a plan without a copy does not need

    history = History.of(job)
    if not history.generations:
        return lines
    changed = changes(job.source, history)
    if changed.fresh:
        lines["join"] = f"{counted(len(changed.fresh), 'file')} new or changed ({some(group([printable(name) for name in changed.fresh]))})"
    if changed.gone:
        fate = "to be removed from the copy" if job.prune else "kept in the copy, --prune removes what is gone"
        gone = some(group([printable(name) for name in changed.gone]))
        lines["gone"] = f"{counted(len(changed.gone), 'file')} of the copy no longer in the source ({gone}): {fate}"
    if broken := list(damaged(job, history)) if job.output.local else []:
        fate = "cannot be written again while originals are gone" if changed.gone else "to be written again"
        lines["mend"] = f"{counted(len(broken), 'image')} of the copy missing or damaged ({some(group(broken))}): {fate}"
    return lines


def damaged(job: Job, history: "History") -> Iterator[str]:
    """Names of images that are not in the copy, or not as they were written; of a packed one, as long as its file is there, none.

    Of files of the size that they should have the first `READ` bytes are read.
    """
    root, read = Path(job.output.uri), 0
    for line in history.written(("name", "bytes", "sha256", "pixels")):
        path = root / line["name"]
        if not path.is_file():
            yield from () if path.parent.is_file() else (line["name"],)
            continue
        size = path.stat().st_size
        read += size
        if (size != line["bytes"] or read <= READ) and not is_whole(path, line, job.recipe.limits()):
            yield line["name"]


def is_whole(path: Path, line: dict, limits: Limits) -> bool:
    """Whether a file holds the bytes that the ledger's line says, or at least their pixels."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() == line["sha256"]:
        return True
    try:
        return digest_of(decode(data, limits=limits, moving=True)) == line["pixels"]
    except Rejected:
        return False
