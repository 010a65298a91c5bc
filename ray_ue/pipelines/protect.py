"""`protect`: check a request, claim the output and run the stages, each skipped when its artifact exists."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_ue.config.job import MAX_GONE, Job
from ray_ue.config.recipe import AUTOMATIC, Recipe, Resources
from ray_ue.config.stages import LAST, reaches
from ray_ue.engine.environment import prepare
from ray_ue.models.pretrained import specs
from ray_ue.pipelines import planning as estimates
from ray_ue.pipelines.claim import CLAIM, claim_of, refuse_foreign, refuse_overlap, refuse_place, refuse_private, size_before, work_of
from ray_ue.pipelines.planning import coarse_line, estimate, refuse_room, sized
from ray_ue.pipelines.rehearsal import JPEG, Look, rehearse
from ray_ue.pipelines.standing import copied_twice, moved, refuse_removals, refuse_saved_again
from ray_ue.pipelines.values import address, recipe_from, split_resources
from ray_ue.progress import say
from ray_ue.sources import FORMATS, Source, open_source
from ray_ue.sources.storage import normal
from ray_ue.storage.artifacts import Artifact, Folder, finished
from ray_ue.storage.locks import alone

if TYPE_CHECKING:
    from ray_ue.methods import Method


def plan(
    source: str | Source,
    output: str,
    *,
    recipe: Recipe,
    resources: Resources,
    shared: str = "",
    anew: bool = False,
    prune: bool = False,
    max_gone: float = MAX_GONE,
) -> Job:
    """Check a request before any long work; a `ValueError` says what was got and what would have worked.

    `shared` leads from the copy's work folder to one that several copies share; it, `anew`, `prune` and `max_gone` are as `Job` says.
    """
    from ray_ue.methods import build

    recipe.check()
    if not 0 <= max_gone <= 1:
        raise ValueError(f"--max-gone is a part of the files from 0 to 1, got {max_gone:g}")
    recipe = rooted(recipe)
    method = build(recipe.method, asdict(recipe))
    resources.check()
    refuse_mismatch(method, recipe, resources)
    if isinstance(source, str):
        refuse_private(source)
    opened_source = source if isinstance(source, Source) else open_source(source, format=recipe.format, carry=recipe.patterns())
    if not output.strip():
        raise ValueError("the output is missing; name a folder for the copy: ray-ue protect photos/ photos-protected/")
    target = Folder.at(output)
    refuse_place(target)
    if not recipe.image_size:
        before = size_before(target, recipe)
        recipe = replace(recipe, image_size=before) if before else sized(recipe, opened_source)
    job = Job(
        source=opened_source,
        output=target,
        work=work_of(target),
        recipe=recipe,
        resources=resources,
        shared_path=shared,
        anew=anew,
        prune=prune,
        max_gone=max_gone,
    )
    refuse_overlap(job)
    refuse_foreign(job)
    return job


def rooted(recipe: Recipe) -> Recipe:
    """The same with absolute paths: workers run in folders of their own, and a later command may be given in another one."""
    from ray_ue.methods import rooted as with_roots

    return replace(
        recipe,
        surrogate=specs.rooted(recipe.surrogate),
        settings=with_roots(recipe.method, recipe.settings),
        embeddings=normal(recipe.embeddings) if recipe.embeddings else "",
    )


def refuse_mismatch(method: "Method", recipe: Recipe, resources: Resources) -> None:
    """Refuse what each part allows and all together do not."""
    if method.surrogate_kind and specs.parse(recipe.surrogate).kind != method.surrogate_kind:
        raise ValueError(
            f"--method {recipe.method} needs a surrogate of {method.surrogate_kind}, got {recipe.surrogate}; write {specs.EXAMPLES}"
        )
    if recipe.aim == "farthest" and recipe.groups == "label" and not method.uses_surrogate:
        raise ValueError(
            f"--aim farthest needs group centres in feature space, which --method {recipe.method} with --groups label does not compute; "
            "use --aim shift or random"
        )
    if method.trains_proxies and recipe.groups == "kmeans" and not recipe.other_clusters():
        raise ValueError(
            f"{recipe.method} trains small networks to compare its choices, on labels that are not its clusters; "
            "say --also-clusters 10, for example, or leave out tries"
        )
    if recipe.other_clusters() and not method.multi_grouping:
        from ray_ue.methods import METHODS

        able = ", ".join(name for name, kind in METHODS.items() if kind.multi_grouping)
        raise ValueError(f"--also-clusters works with {able}; --method {recipe.method} uses one clustering")
    if method.single_worker and resources.workers not in ("auto", "local", "1"):
        reason = f"--method {recipe.method} compares all rows of a batch in one place"
        raise ValueError(f"{reason}; ask for --workers 1, got {resources.workers}")


def describe(job: Job, found: Look, *, nodes: str = "") -> str:
    """The plan of a run, for people, after a look at its images; for the nodes that `nodes` describes also where each stage runs."""
    plan = estimate(job.source, recipe=job.recipe)
    text = estimates.describe(job.source, plan, recipe=job.recipe, output=job.output, work=job.work, resources=job.resources)
    text = "\n".join([text, *(f"{name:>9}  {line}" for name, line in found.lines(job))])
    if not nodes:
        return text
    from ray_ue.pipelines.placement import describe_machines, described_cluster, protect_placement

    machines, shards = described_cluster(nodes), len(job.source.shards())
    lines = protect_placement(job.recipe, job.resources, machines, rows=plan.rows, shards=shards, largest=plan.largest)
    return "\n".join([text, f"{'nodes':>9}  {describe_machines(machines)}", *(f"{name:>9}  {where}" for name, where in lines.items())])


def run(job: Job, *, until: str) -> dict[str, Artifact]:
    """Run the stages up to `until`; returns their artifacts by name. Finished ones are opened, unfinished ones continued."""
    job.work.check_writable()
    with alone(job.work, what=job.output.uri):
        check_before(job, until=until)
        prepare()
        # Ray takes seconds to import: a wrong flag must not wait for it.
        from ray_ue.pipelines.growth import run_stages

        job.work.write_json(CLAIM, claim_of(job))
        return run_stages(job, until=until)


def check_before(job: Job, *, until: str) -> None:
    """Refuse what can be found wrong before Ray starts, and say what weakens the protection."""
    if not any(name.startswith("craft-") and finished(job.work.child(name)) for name in job.work.names()):
        rehearse(job.recipe)  # afterwards no stage needs the surrogate: a copy can be verified without its weights
        if warning := coarse_line(job.source, job.recipe):
            say(f"  warning  {warning}")
    refuse_room(job)
    refuse_removals(job)
    refuse_saved_again(job)
    if job.recipe.image_format == "jpeg":
        say(f"  warning  {JPEG}")
    for warning in filter(None, (copied_twice(job), moved(job))):
        say(f"  warning  {warning}")
    if reaches(until, "export"):
        job.output.check_writable()


def verify(output: str, *, resources: Resources) -> tuple[Job, dict[str, Artifact]]:
    """Verify a finished copy, also where its source is gone or has changed; raises `VerifyError`."""
    prepare()
    job = reopen(output, resources=resources)
    from ray_ue.pipelines.growth import verify_stages

    return job, verify_stages(job)


def protect(
    source: str | Path,
    output: str | Path,
    *,
    resources: Resources = AUTOMATIC,
    until: str = LAST,
    anew: bool = False,
    prune: bool = False,
    max_gone: float = MAX_GONE,
    **fields: Any,
) -> dict[str, Artifact]:
    """Write a protected copy of `source` to `output` and prove it by reading it back.

    Calling it again continues, lets new pictures join, and writes again what is damaged; `anew`, `prune` and `max_gone` are as `Job`
    says.

    `fields` are those of `Recipe` and `Resources`, as the command line's flags: `protect("photos", "out", clusters=10, budget="16/255")`.
    Values work as well as words: `method=UC(steps=400)`, `budget=Budget(16)`, `also_clusters=[20, 50]`.
    Returns the artifact of each stage; raises `ValueError` for what can be found wrong before long work.
    """
    others, resources = split_resources(fields, resources)
    job = plan(
        address(source, "source"),
        address(output, "output"),
        recipe=recipe_from(others),
        resources=resources,
        anew=anew,
        prune=prune,
        max_gone=max_gone,
    )
    return run(job, until=until)


def reopen(output: str, *, resources: Resources) -> Job:
    """The job that made an existing copy, read from the claim in its work folder."""
    target = Folder.at(output)
    work = work_of(target)
    if not work.exists(CLAIM):
        raise ValueError(f"{work.uri} is not there, so {target.uri} cannot be checked; name a folder that ray-ue protect wrote")
    claim = work.read_json(CLAIM)
    if claim.get("shared") and not work.resolve(claim["shared"]).exists():
        raise ValueError(
            f"{target.uri} was made by a sweep, and the work folder {work.resolve(claim['shared']).uri} that its copies share is not there"
            "; check it inside the sweep's folder"
        )
    recipe = Recipe(**claim["flags"])
    source = source_or_none(claim["source"], recipe)
    return Job(source=source, output=target, work=work, recipe=recipe, resources=resources, shared_path=claim.get("shared", ""))


def source_or_none(address: str, recipe: Recipe) -> Source:
    """The source of a copy as it is now; without files where it is gone."""
    try:
        return open_source(address, format=recipe.format, carry=recipe.patterns())
    except ValueError as error:
        say(f"  warning  {address} cannot be read, so the ledger stands for it: {error}")
        kind = FORMATS["folder" if recipe.format == "auto" else recipe.format]
        return kind(root=address, address=address, entries=())
