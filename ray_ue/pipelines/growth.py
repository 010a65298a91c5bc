"""A copy over time: the first run makes it, later ones let new pictures join, remove others if asked, and mend what is damaged."""

from collections.abc import Iterator, Set
from dataclasses import replace

from ray_ue.config.job import Job
from ray_ue.config.stages import LAST, reaches
from ray_ue.engine.session import session
from ray_ue.engine.stage import Run
from ray_ue.methods.requirements import refuse_rows
from ray_ue.pipelines.chains import files_of
from ray_ue.pipelines.earlier import KEPT, other_defaults
from ray_ue.pipelines.generations import (
    Changes,
    Generation,
    History,
    changes,
    goes_on,
    has_images,
    joined,
    names_in_copy,
    narrowed,
    unread,
)
from ray_ue.pipelines.protect_stages import join_stages, stages_of, write_again
from ray_ue.pipelines.standing import WAITING
from ray_ue.progress import counted, say
from ray_ue.sources.listing import Shard, load_listing
from ray_ue.sources.naming import group, printable, some
from ray_ue.stages.protect.damage import VerifyError
from ray_ue.stages.protect.index import labels_of
from ray_ue.stages.protect.rejected import NoneUsable
from ray_ue.stages.protect.verify import verify
from ray_ue.storage.artifacts import Artifact


def run_stages(job: Job, *, until: str) -> dict[str, Artifact]:
    """Run the stages up to and with `until` in one Ray session; returns the artifacts of the newest generation by name."""
    with session(part=job.resources.part) as machines:
        before = History.of(job)
        begun = bool(before.generations) and not job.anew
        source = replace(job.source, unread=before.unread() if begun else unread(job.source))
        run, changed = replace(Run.of(job, machines), source=source), changes(source, before) if begun else Changes()
        kept = other_defaults(job, before)
        if kept:
            say(f"     kept  {KEPT.format(kept)}")
        if goes_on(before, changed, anew=job.anew, kept=kept):
            done, history = join(run, before, changed.fresh, until=until), before
        else:
            done, history = collect(checked(run, stages_of(run)), until=until), replace(before, generations=())
        if not reaches(until, "export"):
            return done
        history = history.with_generation(Generation(export=done["export"].fingerprint))
        if before.generations and history.generations != before.generations:
            remove_stale(run, before, history)
        history.record()  # now that nothing is left to remove: a run that was killed before this does it again
        if changed.gone:
            history = remove_gone(run, history, changed.gone)
        return done | prove(run, history) if until == LAST else done


def join(run: Run, before: History, fresh: tuple[str, ...], *, until: str) -> dict[str, Artifact]:
    """Protect the files that are new or have changed, if there is an image among them; else give what is there."""
    source = narrowed(run.source, fresh, history=before)
    source = replace(source, unread=unread(source))
    if not has_images(source, fresh):
        if fresh:
            say(f"  waiting  {counted(len(fresh), 'file')} beside the images new or changed: {WAITING}")
        return before.chains[-1]
    say(f"     join  {counted(len(fresh), 'file')} new or changed; the other pictures stay as they are")
    recipe = replace(run.recipe, seed=run.recipe.seed + len(before.chains))  # patterns of its own are not those of the first images
    try:
        return collect(join_stages(replace(run, source=source, recipe=recipe), first=before.chains[0]), until=until)
    except NoneUsable as error:
        say(f"  warning  {error}")
        return before.chains[-1]


def verify_stages(job: Job) -> dict[str, Artifact]:
    """Verify a finished copy from its ledgers, and from the source where that is there; writes no file of it."""
    with session(part=job.resources.part) as machines:
        history = History.of(job)
        if not history.generations:
            raise ValueError(f"{job.work.uri} holds no finished copy; run ray-ue protect to its end first")
        facts = verify(Run.of(job, machines), history.parts())
        return history.chains[-1] | {"export": proved(history, facts)}


def collect(stages: Iterator[tuple[str, dict[str, Artifact]]], *, until: str) -> dict[str, Artifact]:
    """The artifacts of the stages up to `until`; those of pictures that join have not every stage."""
    done: dict[str, Artifact] = {}
    for name, artifacts in stages:
        done |= artifacts
        if reaches(name, until):
            break
    return done


def checked(run: Run, stages: Iterator[tuple[str, dict[str, Artifact]]]) -> Iterator[tuple[str, dict[str, Artifact]]]:
    """The same stages; what the index shows to be impossible is refused right after it, before anything is trained."""
    for name, artifacts in stages:
        if name == "index":
            refuse_rows(run.recipe, labels_of(artifacts["index"]))
        yield name, artifacts


def remove_stale(run: Run, before: History, after: History) -> None:
    """Remove what earlier runs wrote and the copy does not hold any more: of a copy made anew, or of a picture that cannot be read now."""
    stale = sorted(before.held() - after.held())
    for name in stale:
        run.output.take_out(name)
    if stale:
        say(f"   remove  {counted(len(stale), 'file')} of the copy that it holds no longer ({some(group([*map(printable, stale)]))})")


def remove_gone(run: Run, history: History, gone: tuple[str, ...]) -> History:
    """Remove from the copy what is no longer in the source, if asked; else say that it stays."""
    beside = {printable(file.path): file.goal for chain in history.chains for file in files_of(chain) if not file.is_image}
    names, keys = beside | dict(history.published()), [printable(path) for path in gone]
    told = f"{counted(len(gone), 'file')} of the copy no longer in the source ({some(group(keys))})"
    if not run.prune:
        say(f"  warning  {told}, kept: --prune removes what is gone")
        return history
    live = set(names.values())
    removed = [names.get(key, key) for key in keys if key in names or key not in live]
    for name in removed:
        run.output.take_out(name)
    say(f"    prune  {told}, removed")
    history = history.with_generation(Generation(removed=tuple(sorted({*keys, *removed}))))
    history.record()
    return history


def refuse_lost_originals(run: Run, history: History, error: VerifyError) -> None:
    """Refuse to mend where an original of what is damaged is gone or has changed. Nothing has been touched then."""
    here = set(run.source.files())
    lost = [
        path
        for chain in history.chains
        for shard in load_listing(chain["index"].folder)
        if (names := error.damage.get(chain["export"].fingerprint, {}).get(shard.number))
        for path, size in needed(shard, names)
        if (path, size) not in here
    ]
    if lost:
        there = {path for path, _ in here}
        remedy = "put it back, or let --prune take it out of the copy"
        if there.intersection(lost):
            remedy = f"put back what is gone, or let --prune take it out of the copy; what has changed {WAITING.removeprefix('they ')}"
        raise VerifyError(
            f"{error}; what is damaged cannot be written again where the original is gone from the source or has changed "
            f"({some(group([printable(path) for path in lost]))}): {remedy}"
        ) from error


def needed(shard: Shard, names: Set[str]) -> list[tuple[str, int]]:
    """(path, size) of the files of the source that these files of a copy are made of."""
    loose = [(file.path, file.size) for file in shard.files if names_in_copy(file) & names]
    return loose if shard.files else [(shard.path, shard.size)]


def prove(run: Run, history: History) -> dict[str, Artifact]:
    """Verify the whole copy; what is damaged is written again, once."""
    try:
        facts = verify(run, history.parts())
    except VerifyError as error:
        if not error.damage:
            raise
        refuse_lost_originals(run, history, error)
        say(f"     mend  {error}")
        source = joined(run.source, history)
        for chain in history.chains:
            if wrong := error.damage.get(chain["export"].fingerprint):
                write_again(replace(run, source=source), chain, wrong)
        history = replace(history)  # artifacts are read anew
        facts = verify(run, history.parts())
    return {"export": proved(history, facts)}


def proved(history: History, facts: dict) -> Artifact:
    """The last export, with what was proved of the whole copy among its facts; a medium that cannot be written keeps it nowhere else."""
    artifact = history.chains[-1]["export"]
    return replace(artifact, manifest=replace(artifact.manifest, facts=artifact.facts | {"proved": facts}))
