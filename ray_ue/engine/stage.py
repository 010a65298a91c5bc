"""What every stage shares: the run it belongs to, and the rule that finished work is opened and unfinished work is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from ray_ue.config.job import Job
from ray_ue.config.stages import STAGES
from ray_ue.engine.machines import Machines
from ray_ue.progress import say
from ray_ue.storage.artifacts import Artifact, Folder, Manifest, fingerprint, finish, finished, opened
from ray_ue.storage.locks import one_after_another
from ray_ue.version import ARTIFACT_PACKAGES, installed_versions


@dataclass(frozen=True, kw_only=True)
class Run(Job):
    """A job on the machines that work on it."""

    machines: Machines

    @classmethod
    def of(cls, job: Job, machines: Machines) -> "Run":
        return cls(**{entry.name: getattr(job, entry.name) for entry in fields(job)}, machines=machines)


def stage(
    run: Run,
    name: str,
    *,
    version: int,
    fields: Mapping[str, object],
    inputs: Mapping[str, Artifact],
    build: Callable[[Folder], dict],
) -> Artifact:
    """Open the artifact with this identity, or let `build` fill its folder and finish it with the facts it returns."""
    sources = {kind: artifact.fingerprint for kind, artifact in inputs.items()}
    identity = fingerprint(name, version=version, fields=fields, inputs=sources)
    folder = (run.work if name in STAGES and STAGES[name].per_copy else run.shared).child(f"{name}-{identity}")
    if finished(folder):
        say(f"{name:>9}  done before")
        return opened(folder)
    with one_after_another(folder):  # trials of a sweep share folders, and two may come to the same one
        if finished(folder):
            return opened(folder)
        facts, versions = build(folder), installed_versions(ARTIFACT_PACKAGES)
        manifest = Manifest(stage=name, fingerprint=identity, fields=dict(fields), inputs=sources, facts=facts, versions=versions)
        return finish(folder, manifest)
