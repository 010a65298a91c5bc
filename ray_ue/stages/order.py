"""The stages in order, each fed with the artifacts of those before it."""

from collections.abc import Iterator

from ray_ue.artifacts import Artifact, Folder
from ray_ue.recipe import Recipe, Resources
from ray_ue.stages.base import Run
from ray_ue.stages.cluster import cluster
from ray_ue.stages.craft import craft
from ray_ue.stages.embed import embed
from ray_ue.stages.export import export
from ray_ue.stages.index import index
from ray_ue.stages.sample import sample
from ray_ue.stages.session import session
from ray_ue.stages.surrogate import surrogate
from ray_ue.stages.verify import verify


def follow(*, source: str, output: Folder, work: Folder, recipe: Recipe, resources: Resources, until: str) -> dict[str, Artifact]:
    """Run the stages up to and with `until` in one Ray session; returns their artifacts by name."""
    done: dict[str, Artifact] = {}
    with session() as machines:
        job = Run(source=source, output=output, work=work, recipe=recipe, resources=resources, machines=machines)
        for name, artifacts in steps(job):
            done |= artifacts
            if name == until:
                break
    return done


def steps(job: Run) -> Iterator[tuple[str, dict[str, Artifact]]]:
    """Each stage's name and artifacts as it ends."""
    indexed = index(job)
    yield "index", {"index": indexed}
    sampled = sample(job, index=indexed)
    yield "sample", {"sample": sampled}
    weights = surrogate(job, sample=sampled)
    yield "surrogate", weights
    embedded = embed(job, index=indexed, weights=weights)
    yield "embed", {"embed": embedded}
    groups = cluster(job, index=indexed, embedded=embedded)
    yield "cluster", {"cluster": groups}
    poison = craft(job, sample=sampled, weights=weights, groups=groups)
    yield "craft", {"craft": poison}
    exported = export(job, index=indexed, embedded=embedded, groups=groups, poison=poison)
    yield "export", {"export": exported}
    verify(job, index=indexed, exported=exported)
    yield "verify", {}
