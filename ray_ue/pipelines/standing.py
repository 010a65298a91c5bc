"""What a run would do to the copy that is there already, for its plan."""

from ray_ue.config.job import Job
from ray_ue.pipelines.claim import CLAIM, is_copy
from ray_ue.sources.naming import group, printable, some

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
        lines["join"] = f"{len(changed.fresh):,} files are new or have changed ({some(group([printable(name) for name in changed.fresh]))})"
    if changed.gone:
        fate = "will be removed from the copy" if job.prune else "stay in the copy: --prune removes them"
        gone = some(group([printable(name) for name in changed.gone]))
        lines["gone"] = f"{len(changed.gone):,} files of the copy are no longer in the source ({gone}), and {fate}"
    if missing := [name for _, name in history.published() if job.output.local and not job.output.exists(name)]:
        fate = "cannot be written again while originals are gone" if changed.gone else "will be written again"
        lines["mend"] = f"{len(missing):,} images are missing from the copy, and {fate} ({some(group(missing))})"
    return lines
