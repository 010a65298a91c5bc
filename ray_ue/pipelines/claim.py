"""The claim of a copy: where one may lie, what its private work folder says of the request that made it, and who may write there later."""

import os
from dataclasses import asdict
from pathlib import Path

from ray_ue.config.job import Job
from ray_ue.config.recipe import FIELDS, Recipe, list_differences
from ray_ue.config.stages import GENERATIONS
from ray_ue.pipelines.generations import Changes, History, changes
from ray_ue.sources.sidecars import PRIVATE
from ray_ue.storage.addresses import real, what_is_odd
from ray_ue.storage.artifacts import Folder, finished

CLAIM = "claim.json"
TOLERANCES = ("max_rejected",)  # may change between two runs of one copy: they shape no byte of it


def work_of(output: Folder) -> Folder:
    """The private work folder of a copy: perturbations, clusters, ledger. It must not be published."""
    return Folder(output.uri + PRIVATE)


def is_copy(uri: str) -> bool:
    """Whether ray-ue has made the images at `uri`: a work folder lies beside them."""
    return bool(uri.strip()) and work_of(Folder(uri)).exists(CLAIM)


def claim_of(job: Job) -> dict:
    values = job.recipe.values(tuple(name for name in FIELDS if name not in TOLERANCES))
    return {
        "source": job.source.address,
        "listing": job.source.digest(),
        "recipe": values,
        "flags": asdict(job.recipe),
        "shared": job.shared_path,
    }


def grows(job: Job) -> bool:
    """Whether a copy is finished, so that new pictures can join it, or is to be made anew."""
    return not job.shared_path and (job.anew or has_exports(job.work))


def has_exports(work: Folder) -> bool:
    """Whether a run has written a copy to its end."""
    return any(name.startswith("export-") and finished(work.child(name)) for name in work.names())


def has_grown(work: Folder) -> bool:
    """Whether pictures have joined a copy since its first run: an emptied output is then filled again from all runs, with their recipe."""
    return work.exists(GENERATIONS) and sum(bool(line["export"]) for line in work.read_json(GENERATIONS)["generations"]) > 1


def size_before(output: Folder, recipe: Recipe) -> int:
    """The image size that was chosen when a copy was begun by the same method, 0 if there is none: pictures that join change nothing."""
    work = work_of(output)
    if not work.exists(CLAIM) or not (output.names() or has_exports(work)):
        return 0  # what an earlier run left without writing an image decides nothing
    flags = work.read_json(CLAIM)["flags"]
    alike = all(flags.get(name) == getattr(recipe, name) for name in ("method", "surrogate"))
    return flags.get("image_size", 0) if alike else 0


def refuse_private(source: str) -> None:
    """Refuse a private work folder as a collection: it holds tables, no images."""
    if (name := source.rstrip("/")).endswith(PRIVATE):
        raise ValueError(f"{source} is the private work folder of {name.removesuffix(PRIVATE)}, no collection; name a folder of images")


def refuse_shared(job: Job) -> None:
    """Refuse to go on with a copy of a sweep by itself: what it was made of lies in a folder that all copies of the sweep share."""
    if job.shared_path or not job.work.exists(CLAIM) or not (shared := job.work.read_json(CLAIM).get("shared")):
        return
    raise ValueError(
        f"{job.output.uri} is a copy of the sweep whose work lies in {job.work.resolve(shared).uri}: it stays as the sweep made it; "
        "protect the source with the same flags to a folder of its own, which can grow"
    )


def fills_again(job: Job) -> bool:
    """Whether a run would write into an emptied output what earlier ones have made: it then has to have their recipe."""
    if has_grown(job.work):
        return True
    if job.shared_path or not job.work.exists(CLAIM) or not has_exports(job.work):
        return False
    return changes(job.source, History.of(job)) != Changes()


def refuse_foreign(job: Job) -> None:
    """Refuse an output that holds something else than this recipe's own copy."""
    if job.output.local and Path(job.output.uri).is_file():
        raise ValueError(
            f"{job.output.uri} is a file, and the copy is a folder; name a folder that is not there yet (a pattern such as photos/* "
            "becomes several files: name the folder of the images instead)"
        )
    refuse_shared(job)
    if not job.output.names() and (job.anew or not fills_again(job)):
        return
    if not job.work.exists(CLAIM):
        what = f"{job.work.path(CLAIM)} is not there" if job.work.names() else f"{job.work.uri} does not lie beside it"
        raise ValueError(f"{job.output.uri} is not empty, and {what}: put that back if ray-ue wrote this copy, or name a new folder")
    before, now = job.work.read_json(CLAIM), claim_of(job)
    newer = Recipe().values(tuple(name for name in now["recipe"] if name not in before["recipe"]))  # fields that an older version lacked
    earlier = newer | before["recipe"]
    if "auto" in (earlier["format"], now["recipe"]["format"]):
        earlier["format"] = now["recipe"]["format"]  # said or found out, it is the format of the source that is there
    changed = list_differences(earlier, now["recipe"])
    if before["listing"] != now["listing"] and not grows(job):
        changed.append("the source's files (some were added, removed or resized)")
    if changed:
        raise ValueError(
            f"{job.output.uri} holds a copy made with another recipe: {'; '.join(changed)}; "
            f"name a new output, or remove {job.output.uri} and {job.work.uri} to start over"
        )


def refuse_place(output: Folder) -> None:
    """Refuse a local output where no folder can be, or in a folder that must stay private."""
    if not output.local:
        return
    try:
        os.lstat(work_of(output).uri)
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise ValueError(f"{output.uri} lies below a file, where no folder can be; name another output") from None
    except OSError as error:
        raise ValueError(f"{output.uri} cannot be an output: {error.strerror}; name another one") from None
    for place in (output, work_of(output)):
        if odd := what_is_odd(place.uri):
            raise ValueError(f"{place.uri} {odd}, no folder; name another output")
    for folder in (Path(output.uri), *Path(output.uri).parents):
        if folder.name.endswith(PRIVATE):
            raise ValueError(f"{output.uri} lies in {folder}: folders of this name hold what undoes a protection; name another output")


def refuse_overlap(job: Job) -> None:
    source, output = real(Folder.at(job.source.root).uri), real(job.output.uri)
    if job.source.only and output != source:
        return  # the source is chosen files of a folder, and the copy may lie in the same folder
    # A link to another place lies where its name says, and the private work folder beside it.
    named = os.path.join(real(os.path.dirname(job.output.uri)), os.path.basename(job.output.uri)) if job.output.local else output
    for one, other in ((source, output), (output, source), (named, source)):
        if one == other or one.startswith(other.rstrip("/") + "/"):
            raise ValueError(f"output {output} and source {source} overlap: one contains the other; write the copy to a folder of its own")
