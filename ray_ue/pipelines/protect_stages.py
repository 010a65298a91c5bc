"""The stages of `protect` in order, each fed with the artifacts of those before it."""

from collections.abc import Iterator

from ray_ue.config.job import Job
from ray_ue.engine.session import session
from ray_ue.engine.stage import Run
from ray_ue.methods.requirements import refuse_rows, requirements_of
from ray_ue.stages.protect.cluster import by_listing, cluster
from ray_ue.stages.protect.craft import craft
from ray_ue.stages.protect.embed import embed
from ray_ue.stages.protect.export import export
from ray_ue.stages.protect.import_embeddings import import_embeddings
from ray_ue.stages.protect.index import index, labels_of
from ray_ue.stages.protect.recenter import recenter
from ray_ue.stages.protect.sample import refuse_unreadable, sample
from ray_ue.stages.protect.self_supervised import train_surrogate
from ray_ue.stages.protect.verify import verify
from ray_ue.storage.artifacts import Artifact


def run_stages(job: Job, *, until: str) -> dict[str, Artifact]:
    """Run the stages up to and with `until` in one Ray session; returns their artifacts by name."""
    done: dict[str, Artifact] = {}
    with session(part=job.resources.part) as machines:
        for name, artifacts in stages_of(Run.of(job, machines)):
            done |= artifacts
            if name == until:
                break
    return done


def stages_of(run: Run) -> Iterator[tuple[str, dict[str, Artifact]]]:
    """Each stage's name and artifacts as it ends. Nothing is embedded for a method that needs neither clusters nor a surrogate."""
    recipe = run.recipe
    needs = requirements_of(recipe)
    method, per = needs.method, needs.per
    canvas = recipe.side(frozen=method.uses_surrogate)
    indexed = index(run)
    refuse_rows(recipe, labels_of(indexed))
    yield "index", {"index": indexed}
    vectors = import_embeddings(run, index=indexed) if recipe.embeddings else None  # first: they may not fit, and what follows is long
    views = sample(run, index=indexed, canvas=canvas, rows=indexed.facts["rows"] if per == "image" else recipe.craft_sample)
    sampled = sample(run, index=indexed, canvas=recipe.geometry()[0], rows=recipe.craft_sample) if needs.surrogate else views
    if per == "image":
        method.validate_inputs(budget=recipe.levels(), side=canvas, entries=views.facts["rows"])
    yield "sample", {"sample": views}
    weights = train_surrogate(run, sample=sampled) if needs.surrogate else {}
    yield "surrogate", weights
    if needs.embeds:
        vectors = embed(run, index=indexed, weights=weights)
    if vectors is None or recipe.embeddings:
        refuse_unreadable(views, most=recipe.max_rejected)
    embedded = {} if vectors is None else {"embed": vectors}
    yield "embed", embedded
    if vectors is None:
        groups, also = by_listing(run, index=indexed, views=views), []
    else:
        groups = cluster(run, index=indexed, embedded=vectors, clusters=recipe.clusters)
        also = [cluster(run, index=indexed, embedded=vectors, clusters=k) for k in recipe.other_clusters()]
        if recipe.embeddings and method.uses_surrogate:
            groups = recenter(run, index=indexed, embedded=vectors, groups=groups, views=views, weights=weights)
    yield "cluster", {"cluster": groups}
    poison = craft(run, views=views, weights=weights if method.uses_surrogate else {}, groups=groups, also=also)
    yield "craft", {"craft": poison}
    exported = export(run, index=indexed, views=views, embedded=embedded, groups=groups, poison=poison)
    yield "export", {"export": exported}
    verify(run, index=indexed, exported=exported, poison=poison)
    yield "verify", {}
