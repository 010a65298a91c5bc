"""What every stage shares: the run it belongs to, and the rule that finished work is opened and unfinished work is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ray_ue.artifacts import Artifact, Folder, Manifest, fingerprint, finish, finished, opened
from ray_ue.progress import say
from ray_ue.recipe import Recipe, Resources
from ray_ue.stages.session import Machines
from ray_ue.versions import installed

PACKAGES = ("ray-ue", "ray", "torch", "torchvision", "open_clip_torch", "pillow", "pyarrow", "numpy")

OWN = ("craft", "export")  # belong to one output: copies that are made side by side share only what comes before


@dataclass(frozen=True, kw_only=True)
class Run:
    """One job: where images come from, where the copy and the work folder lie, what is asked for and what may be used.

    `shared` holds what does not depend on where the copy lies: the work folder itself, or one for all the copies of a sweep.
    """

    source: str
    output: Folder
    work: Folder
    shared: Folder
    recipe: Recipe
    resources: Resources
    machines: Machines


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
    folder = (run.work if name in OWN else run.shared).child(f"{name}-{identity}")
    if finished(folder):
        say(f"{name:>9}  done before")
        return opened(folder)
    facts = build(folder)
    versions = {package: installed(package) for package in PACKAGES}
    return finish(
        folder,
        Manifest(stage=name, fingerprint=identity, fields=dict(fields), inputs=sources, facts=facts, versions=versions),
    )
