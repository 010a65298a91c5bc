"""A copy that an earlier version made: its pictures keep the patterns of that version's defaults. It imports no Ray."""

import json

from ray_ue.config.job import Job
from ray_ue.pipelines.generations import History
from ray_ue.storage.artifacts import opened

KEPT = "an earlier version made this copy with other defaults ({}): its patterns stay as they are; --anew makes the copy anew"


def other_defaults(job: Job, history: History) -> str:
    """What this version would make otherwise than was made of the first images of a copy, by the same flags; empty if nothing.

    Where the output is empty, flags may have changed and nothing is there to keep; copies of a sweep follow the sweep.
    """
    from ray_ue.methods.requirements import requirements_of

    if not history.generations or job.anew or job.shared_path or not job.output.names():
        return ""
    first, method, told = history.chains[0], requirements_of(job.recipe).method, []
    if not method.file_settings:  # a file that has changed is no default
        before, now = first["craft"].manifest.fields["settings"], json.loads(json.dumps(method.identity()))  # as a manifest keeps it
        told = [f"another value of {name}" for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    clusters = first.get("cluster")
    while clusters and "groups" in clusters.manifest.inputs:  # whose centres were moved to another feature space
        clusters = opened(history.shared.child(f"cluster-{clusters.manifest.inputs['groups']}"))
    fields = clusters.manifest.fields if clusters else {}
    return ", ".join(
        [*told, *(["clusters that auto chose in another way"] if fields.get("clusters") == 0 and "merging" not in fields else [])]
    )
