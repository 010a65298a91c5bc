"""The claim of a copy: what its private work folder says of the request that made it, and which later request may write there."""

from dataclasses import asdict

from ray_ue.config.job import Job
from ray_ue.config.recipe import FIELDS, Recipe, list_differences
from ray_ue.storage.artifacts import Folder, finished

CLAIM = "claim.json"
TOLERANCES = ("max_rejected",)  # may change between two runs of one copy: they shape no byte of it


def work_of(output: Folder) -> Folder:
    """The private work folder of a copy: perturbations, clusters, ledger. It must not be published."""
    return Folder(output.uri + ".ray-ue")


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
    return not job.shared_path and (
        job.anew or any(name.startswith("export-") and finished(job.work.child(name)) for name in job.work.names())
    )


def size_before(work: Folder) -> int:
    """The image size that was chosen when a copy was begun, 0 if there is none: pictures that join change nothing."""
    return work.read_json(CLAIM)["flags"].get("image_size", 0) if work.exists(CLAIM) else 0


def refuse_foreign(job: Job) -> None:
    """Refuse an output that holds something else than this recipe's own copy."""
    if not job.output.names():
        return
    if not job.work.exists(CLAIM):
        raise ValueError(f"{job.output.uri} is not empty and was not written by ray-ue; name a new folder for the copy")
    before, now = job.work.read_json(CLAIM), claim_of(job)
    newer = Recipe().values(tuple(name for name in now["recipe"] if name not in before["recipe"]))  # fields that an older version lacked
    changed = list_differences(newer | before["recipe"], now["recipe"])
    if before["listing"] != now["listing"] and not grows(job):
        changed.append("the source's files (some were added, removed or resized)")
    if changed:
        raise ValueError(
            f"{job.output.uri} holds a copy made with another recipe: {'; '.join(changed)}; "
            f"name a new output, or remove {job.output.uri} and {job.work.uri} to start over"
        )
