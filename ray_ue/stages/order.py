"""The stages in order, each fed with the artifacts of those before it."""

from collections.abc import Iterator

from ray_ue.artifacts import Artifact, Folder
from ray_ue.needs import needs_of
from ray_ue.recipe import Recipe, Resources
from ray_ue.stages.base import Run
from ray_ue.stages.centers import recenter
from ray_ue.stages.cluster import by_listing, cluster
from ray_ue.stages.craft import craft
from ray_ue.stages.embed import embed
from ray_ue.stages.export import export
from ray_ue.stages.given import given
from ray_ue.stages.index import index
from ray_ue.stages.sample import refuse_unreadable, sample
from ray_ue.stages.session import session
from ray_ue.stages.surrogate import surrogate
from ray_ue.stages.verify import verify


def follow(
    *, source: str, output: Folder, work: Folder, shared: Folder, recipe: Recipe, resources: Resources, until: str
) -> dict[str, Artifact]:
    """Run the stages up to and with `until` in one Ray session; returns their artifacts by name."""
    done: dict[str, Artifact] = {}
    with session(part=resources.part) as machines:
        job = Run(source=source, output=output, work=work, shared=shared, recipe=recipe, resources=resources, machines=machines)
        for name, artifacts in steps(job):
            done |= artifacts
            if name == until:
                break
    return done


def steps(job: Run) -> Iterator[tuple[str, dict[str, Artifact]]]:
    """Each stage's name and artifacts as it ends. Nothing is embedded for a method that needs neither clusters nor a surrogate."""
    recipe = job.recipe
    needs = needs_of(recipe)
    method, per = needs.method, needs.per
    canvas = recipe.side(frozen=method.frozen)
    indexed = index(job)
    yield "index", {"index": indexed}
    vectors = given(job, index=indexed) if recipe.embeddings else None  # first: they may not fit, and what follows is long
    views = sample(job, index=indexed, canvas=canvas, rows=indexed.facts["rows"] if per == "image" else recipe.craft_sample)
    sampled = sample(job, index=indexed, canvas=recipe.geometry()[0], rows=recipe.craft_sample) if needs.surrogate else views
    if per == "image":
        method.refuse(budget=recipe.levels(), side=canvas, entries=views.facts["rows"])
    yield "sample", {"sample": views}
    weights = surrogate(job, sample=sampled) if needs.surrogate else {}
    yield "surrogate", weights
    if needs.embeds:
        vectors = embed(job, index=indexed, weights=weights)
    if vectors is None or recipe.embeddings:
        refuse_unreadable(views, most=recipe.max_rejected)
    embedded = {} if vectors is None else {"embed": vectors}
    yield "embed", embedded
    if vectors is None:
        groups, also = by_listing(job, index=indexed, views=views), []
    else:
        groups = cluster(job, index=indexed, embedded=vectors, clusters=recipe.clusters)
        also = [cluster(job, index=indexed, embedded=vectors, clusters=k) for k in recipe.other_clusters()]
        if recipe.embeddings and method.frozen:
            groups = recenter(job, index=indexed, embedded=vectors, groups=groups, views=views, weights=weights)
    yield "cluster", {"cluster": groups}
    poison = craft(job, views=views, weights=weights if method.frozen else {}, groups=groups, also=also)
    yield "craft", {"craft": poison}
    exported = export(job, index=indexed, views=views, embedded=embedded, groups=groups, poison=poison)
    yield "export", {"export": exported}
    verify(job, index=indexed, exported=exported, poison=poison)
    yield "verify", {}
