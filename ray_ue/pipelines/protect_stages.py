"""The stages of `protect` in order, each fed with the artifacts of those before it: of a whole source, and of pictures that join a copy."""

from collections.abc import Iterator, Mapping

from ray_ue.engine.stage import Run
from ray_ue.methods.requirements import requirements_of
from ray_ue.stages.protect.cluster import by_listing, cluster
from ray_ue.stages.protect.craft import craft
from ray_ue.stages.protect.embed import embed
from ray_ue.stages.protect.export import export, mend
from ray_ue.stages.protect.import_embeddings import import_embeddings
from ray_ue.stages.protect.index import index
from ray_ue.stages.protect.join import join_further, join_groups
from ray_ue.stages.protect.recenter import recenter
from ray_ue.stages.protect.sample import refuse_unreadable, sample
from ray_ue.stages.protect.self_supervised import train_surrogate
from ray_ue.storage.artifacts import Artifact, opened

NOTHING: Mapping[str, Artifact] = {}


def stages_of(run: Run, *, first: Mapping[str, Artifact] = NOTHING) -> Iterator[tuple[str, dict[str, Artifact]]]:
    """Each stage's name and artifacts as it ends. Nothing is embedded for a method that needs neither clusters nor a surrogate.

    Pictures that join a copy take the surrogate and the groups of its `first` generation.
    """
    recipe = run.recipe
    needs = requirements_of(recipe)
    method, per = needs.method, needs.per
    canvas = recipe.side(frozen=method.uses_surrogate)
    indexed = index(run)
    yield "index", {"index": indexed}
    vectors = import_embeddings(run, index=indexed) if recipe.embeddings else None  # first: they may not fit, and what follows is long
    views = sample(run, index=indexed, canvas=canvas, rows=indexed.facts["rows"] if per == "image" else recipe.craft_sample)
    sampled = sample(run, index=indexed, canvas=recipe.geometry()[0], rows=recipe.craft_sample) if needs.surrogate else views
    if per == "image":
        method.validate_inputs(budget=recipe.levels(), side=canvas, entries=views.facts["rows"])
    yield "sample", {"sample": views}
    weights = surrogate_of(first) if first else train_surrogate(run, sample=sampled) if needs.surrogate else {}
    yield "surrogate", weights
    if needs.embeds:
        vectors = embed(run, index=indexed, weights=weights)
    if vectors is None or recipe.embeddings:
        refuse_unreadable(run, views)
    embedded = {} if vectors is None else {"embed": vectors}
    yield "embed", embedded
    if first and needs.groups != "none" and method.uses_groups:
        groups = join_groups(run, index=indexed, embedded=embedded if needs.groups == "kmeans" else {}, first=first)
        also = list(join_further(run, index=indexed, embedded=vectors, first=first)) if vectors else []
    elif vectors is None:
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


def join_stages(run: Run, *, first: dict[str, Artifact]) -> Iterator[tuple[str, dict[str, Artifact]]]:
    """The stages of pictures that join a copy: they take the groups and patterns of its `first` generation.

    Where every image has a pattern of its own, those of the new ones are crafted among themselves.
    """
    needs = requirements_of(run.recipe)
    if needs.per == "image":
        yield from stages_of(run, first=first)
        return
    indexed = index(run)
    yield "index", {"index": indexed}
    embedded = {}
    if needs.groups == "kmeans":
        weights = surrogate_of(first)
        embedded = {"embed": import_embeddings(run, index=indexed) if run.recipe.embeddings else embed(run, index=indexed, weights=weights)}
    else:  # no embedding looks at the new pictures
        canvas = run.recipe.side(frozen=needs.method.uses_surrogate)
        refuse_unreadable(run, sample(run, index=indexed, canvas=canvas, rows=run.recipe.craft_sample))
    yield "embed", embedded
    groups = join_groups(run, index=indexed, embedded=embedded, first=first)
    yield "cluster", {"cluster": groups}
    yield "craft", {"craft": first["craft"]}
    exported = export(run, index=indexed, views=views_of(run, first), embedded=embedded, groups=groups, poison=first["craft"])
    yield "export", {"export": exported}


def surrogate_of(chain: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """The surrogate that was trained for a generation; nothing where it brings its own weights."""
    return {"surrogate": chain["surrogate"]} if "surrogate" in chain else {}


def views_of(run: Run, chain: dict[str, Artifact]) -> Artifact:
    """The images that the patterns of a generation were crafted on."""
    return opened(run.shared.child(f"sample-{chain['craft'].manifest.inputs['views']}"))


def write_again(run: Run, chain: dict[str, Artifact], wrong: Mapping[int, frozenset[str]]) -> None:
    """Write some files of a finished generation's part of the copy again, from the originals and the patterns that are there."""
    groups, poison = chain["cluster"], chain["craft"]
    mend(run, index=chain["index"], views=views_of(run, chain), groups=groups, poison=poison, exported=chain["export"], wrong=wrong)
