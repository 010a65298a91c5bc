"""What a command prints at its end: the results, their paths, and what must stay private."""

from collections.abc import Sequence
from pathlib import Path

from ray_ue.cli.submit import describe_submission
from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe
from ray_ue.pipelines.check import verdict
from ray_ue.pipelines.standing import copied_twice
from ray_ue.progress import counted
from ray_ue.results.tables import INFORMATION, RESULTS, TRIALS
from ray_ue.sources.image_files import LOSSY
from ray_ue.sources.naming import some
from ray_ue.stages.protect.rejected import remedies
from ray_ue.stages.protect.summary import BESIDE, around
from ray_ue.storage.artifacts import Artifact, Folder

ORDER = "these files as they are: resize first, protect then, publish without loss; what is done to them later removes protection"
PROVED = "names, labels, checksums, perturbations and the budget hold"


def print_plan(words: Sequence[str], plan: str, *, uris: Sequence[str]) -> int:
    """Print what a command would do, and how to run it as a Ray job; `uris` are the locations that it reads and writes."""
    submission = describe_submission(words[0], words[1:], uris=tuple(uri for uri in uris if uri.strip()), folder=Path.cwd())
    show("\n".join(part for part in (plan, submission) if part))
    return 0


def print_evaluation(run: Folder) -> int:
    """Print the headline of every copy, and the paths of the results."""
    show(run.read("results.md").decode().split("\n## All lines")[0].strip())
    show(f"\npage          {run.path('report.html')}\ntable         {run.path(RESULTS.name)}")
    show(f"keep private  {run.uri}  (it holds clean images, and the page shows some)")
    return 0


def print_check(run: Folder, recipe: Recipe | None) -> int:
    """Print the verdict of a check, and the paths of the results."""
    show("\n".join(verdict(run, recipe)))
    show(f"\npage          {run.path('report.html')}\nkeep private  {run.uri}  (it holds clean images)")
    return 0


def print_measurement(run: Folder) -> int:
    """Print the correlations of a measurement, and the paths of the results."""
    show(run.read("information.md").decode().split("\n## ")[1].partition("\n")[2].strip())
    show(f"\nall lines     {run.path('information.md')}\npage          {run.path('report.html')}")
    show(f"table         {run.path(INFORMATION.name)}")
    return 0


def print_sweep(home: Folder) -> int:
    """Print the table of a sweep, and the paths of the results."""
    show(home.read("sweep.md").decode().strip())
    show(f"\npage          {home.path('report.html')}\ntable         {home.path(TRIALS.name)}")
    show(f"keep private  {home.uri}  (it holds clean images and what undoes the protection; publish only the copy you choose)")
    return 0


def print_copy(job: Job, artifacts: dict[str, Artifact], until: str) -> int:
    """Print what was written, and where."""
    if "export" not in artifacts:
        artifact = list(artifacts.values())[-1]
        show(f"{until}: {artifact.folder.uri}")
        return 0
    facts, reasons = artifacts["export"].facts, artifacts["export"].folder.path("rejected.txt")
    proved = facts.get("proved", facts)
    if proved["images"] != facts["images"] and job.source.files():  # what is told of a source is told of all of it
        facts = facts | around(job.source)
    size = f"{facts['bytes'] / 2**20:,.1f} MiB"
    whole = (
        size if proved["images"] == facts["images"] else f"{facts['images']:,} of them written last, {size}; the lines below are of these"
    )
    if proved["images"] < facts["images"]:  # pictures were removed since
        whole = f"less what was removed since {facts['images']:,} were written"
    lines = [f"protected copy  {job.output.uri}  ({counted(proved['images'], 'image')}, {whole})"]
    lines += [
        *change_lines(job.recipe, facts),
        *metadata_lines(facts["notes"], strip=job.recipe.strip),
        *frame_lines(facts),
        *file_lines(facts, artifacts["export"].folder),
    ]
    if facts["rejected"]:
        advice = "; ".join(remedies(artifacts["export"].folder))
        named = f"{counted(facts['rejected'], 'image')}: {some(facts['reasons'], between='; ')}"
        lines.append(f"rejected        {named}; {advice}; the whole list is {reasons}")
    lines.append(f"keep private    {job.work.uri}  (perturbations, clusters, ledger: they can undo the protection)")
    if until == "verify":
        lines.append(f"verified        {verified_line(job.recipe, proved)}")
    lines += [f"publish         {ORDER}"] if job.recipe.image_format not in LOSSY else []
    lines += [f"warning         {warning}" for warning in [*facts["warnings"], copied_twice(job)] if warning]
    show("\n".join(lines))
    return 0


def verified_line(recipe: Recipe, facts: dict) -> str:
    """What was proved, and what stood for originals that are not there."""
    held = "names, labels and checksums hold" if recipe.image_format in LOSSY else PROVED
    by_ledger = facts["images"] - facts["originals"]
    parts = [f"{'all ' if facts['images'] > 1 else ''}{counted(facts['images'], 'image')} read back: {held}"]
    parts += [f"{by_ledger:,} by the ledger alone, for want of an unchanged original"] if by_ledger else []
    parts += [f"{counted(facts['saved_anew'], 'file')} saved anew with the same pixels"] if facts["saved_anew"] else []
    return "; ".join(parts)


def change_lines(recipe: Recipe, facts: dict) -> list[str]:
    """How far the images of a copy, as a reader decodes them, differ from the originals."""
    budget, compared = recipe.levels(), facts["ssim_images"]
    bound = f"of the {budget} budget" if facts["most_levels"] <= budget.levels else f"({budget} is exceeded by this method or format)"
    similar = f", SSIM {facts['ssim_mean']} on {counted(compared, 'image')}" if compared else ""
    return [f"largest change  {facts['most_levels']}/255 {bound}, PSNR {facts['psnr_mean']} dB{similar}"]


def metadata_lines(notes: dict[str, int], *, strip: str) -> list[str]:
    """What the files said besides their pixels, and what became of it."""
    if not notes:
        return []
    kept = " (--strip all, in a new copy, removes it)" if strip != "all" and any("kept" in note for note in notes) else ""
    return ["metadata        " + ", ".join(f"{note} in {counted(count, 'image')}" for note, count in sorted(notes.items())) + kept]


def frame_lines(facts: dict) -> list[str]:
    """Which images lost all frames or pages but the first."""
    moving = facts.get("first_frames", {"count": 0})  # exports of earlier versions named none
    return [f"first page only {some(moving)}: save the others as files of their own to protect them"] if moving["count"] else []


def file_lines(facts: dict, folder: Folder) -> list[str]:
    """The files beside the images: what was copied, what was left out, and what had to change its name."""
    lines = []
    if (carried := facts["carried"])["count"]:
        lines.append(f"copied as is    {carried['count']:,} beside the images: {some(carried)}")
    if packed := facts.get("unchanged"):
        lines.append(f"copied as is    {packed}")
    if linked := facts.get("linked"):
        lines.append(f"linked          {linked}")
    if idle := facts.get("idle"):
        lines.append(f"warning         --carry: no file fits {', '.join(map(repr, idle))}")
    if left_out := facts["left_out"]:
        parts = [f"{group['count']:,} {reason} ({some(group)})" for reason, group in sorted(left_out.items())]
        lines.append(f"left out        {'; '.join(parts)}; --carry PATTERN, in a new copy, copies what you name")
    if (renamed := facts["renamed"])["count"]:
        lines.append(f"renamed         {renamed['count']:,}: {some(renamed)}")
    if any(group["count"] > len(group["some"]) for group in (carried, renamed, *left_out.values())):
        lines.append(f"all of them     {folder.path(BESIDE)}")
    return lines


def show(text: str) -> None:
    """Print lines that hold names of files."""
    print("\n".join(map(printed, text.split("\n"))))


def printed(line: str) -> str:
    """The line without what steers a terminal: names of files may hold it, and bytes that are no text."""
    return "".join(one if one.isprintable() else "?" for one in line.encode("utf-8", "replace").decode())
