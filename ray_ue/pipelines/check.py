"""Check: does a copy protect these very images? It needs no labels and no test images: a part of the owner's own pictures is held out."""

from dataclasses import replace
from pathlib import Path

from ray_ue.config.grid import EVERYDAY, Grid, split_list
from ray_ue.config.recipe import AUTOMATIC, Recipe, Resources
from ray_ue.pipelines import evaluate
from ray_ue.pipelines.planning import count
from ray_ue.pipelines.values import address
from ray_ue.progress import counted
from ray_ue.results.evaluation import Headline, headline, summary
from ray_ue.results.tables import RESULTS
from ray_ue.results.text import format_percent
from ray_ue.stages.evaluate.job import EvaluationJob
from ray_ue.storage.artifacts import Folder

AFTER = ".check"  # after a copy's name: the folder of the check
QUICK = Grid(quick=True).settled()
HELD_OUT = 0.25  # of the images that are looked at
FEWEST = 40  # images of a collection
LEAST, MOST = 80, 1500  # images; the most take some minutes on two cores
STRONG, WEAK, NOTHING = 0.3, 0.6, 0.9  # of what clean images teach


def plan(copy: str, *, clean: str, results: str, images: int, format: str, resources: Resources) -> EvaluationJob:
    """A quick evaluation of one copy on a part of its own images; a `ValueError` for what cannot work."""
    if images < LEAST:
        raise ValueError(f"--images {images} are too few to train and test on; use {LEAST} or more")
    uri = Folder.at(copy).uri
    clean = evaluate.absolute(clean or evaluate.claimed_source(uri))
    held_out = round(HELD_OUT * images)
    grid = replace(QUICK, train_rows=images - held_out, test_rows=held_out)
    job = evaluate.plan((uri,), clean=clean, test=clean, results=results or uri + AFTER, grid=grid, format=format, resources=resources)
    if (rows := count(job.source(job.clean), job.source(job.clean).shards())[0]) < FEWEST:
        raise ValueError(f"{uri} has {counted(rows, 'image')}, too few to train an exploiter and to test it; check needs {FEWEST} or more")
    return replace(job, held_out=HELD_OUT, pictured=())


def check(
    copy: str | Path,
    *,
    clean: str | Path = "",
    results: str | Path = "",
    images: int = MOST,
    format: str = "auto",
    resources: Resources = AUTOMATIC,
) -> list[str]:
    """Check a copy on a part of its own images, in minutes; returns the verdict in sentences. The folder `results` holds the page.

    A `ValueError` for what cannot work.
    """
    job = plan(
        address(copy, "the copy"),
        clean=address(clean, "clean"),
        results=address(results, "results"),
        images=images,
        format=format,
        resources=resources,
    )
    return verdict(evaluate.run(job), job.copies[0].recipe)


def verdict(results: Folder, recipe: Recipe | None) -> list[str]:
    """What a check found, in sentences: the verdict, what set it, what would strengthen the copy, what no copy survives."""
    lines = summary(RESULTS.read(results))
    head = headline(lines, lines[0].copy if lines else "", defenses=split_list(EVERYDAY))
    if not head.lines:
        failed = dict.fromkeys(reason for line in lines for reason, _ in line.failed)
        why = f"victims did not finish ({'; '.join(failed)})" if failed else "clean images teach a quick victim none of these labels"
        return [f"There is no verdict: {why}. Evaluate the copy with labels and test images.", *left_out(head)]
    return [*judge(head), *left_out(head), *advise(head, recipe), NO_COPY]


NO_COPY = (
    "No copy survives whoever has the clean images or a clean and a protected version of some, a network that already knows these classes, "
    "or purification by a diffusion model."
)


def judge(head: Headline) -> list[str]:
    worst = head.worst
    share = f"{format_percent(worst.kept)} %" if worst.kept < 1 else "all"  # a few test images can make it more than all
    kept = f"{share} of what clean images teach above chance"
    if not head.is_significant and worst.kept <= NOTHING:
        first = f"No protection could be shown: an everyday exploiter keeps {kept}, and few victims leave the spread too wide to tell"
    elif not head.is_significant:
        first = f"This copy does not protect these images: an everyday exploiter keeps {kept}, and what is lost lies within the spread"
    elif worst.kept <= STRONG:
        first = f"This copy protects these images against everyday exploiters: they keep at most {kept}"
    elif worst.kept <= WEAK:
        first = f"This copy protects these images in part: everyday exploiters keep up to {kept}"
    else:
        first = f"This copy protects these images weakly: everyday exploiters keep up to {kept}"
    return [
        f"{first}.",
        f"What set it: labels {worst.relabel}, treatment {worst.defense}, a small network, {worst.protected.n} seeds, "
        "images of 32 pixels; a quick check, no proof.",
    ]


def left_out(head: Headline) -> list[str]:
    """What the verdict does not rest on, a sentence for each reason."""
    places = {why: dict.fromkeys(f"{line.relabel} with {line.defense}" for line in lines) for why, lines in head.left_out}
    return [f"Not compared, because {why}: {', '.join(named)}." for why, named in places.items()]


def advise(head: Headline, recipe: Recipe | None) -> list[str]:
    """What would strengthen the copy, as far as its recipe and the labels of the worst case tell."""
    worst, advice = head.worst, []
    if worst.kept <= STRONG:
        return []
    if recipe is None:
        return ["It was not made here, so nothing is known that would strengthen it."]
    if recipe.image_format == "jpeg":
        advice.append("write --image-format webp, which is lossless: JPEG removes most of a perturbation")
    if recipe.method != "texture":
        advice.append("take the default method, texture")
    if recipe.surrogate.startswith("ssl:"):
        advice.append("take the default surrogate, which knows photographs")
    if recipe.levels().levels < 16:
        advice.append("take --strength mid")
    elif recipe.levels().levels < 32:
        advice.append("take --strength high, which is plain to see")
    if recipe.groups == "kmeans" and worst.relabel == "identity":
        advice.append("take --groups label, if your folders are the classes that others will train on")
    return [f"What may strengthen it: {'; '.join(advice)}."] if advice else []
