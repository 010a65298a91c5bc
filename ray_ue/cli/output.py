"""What a command prints when it has ended or only planned: where everything lies, and what must stay private. It does no work."""

from collections.abc import Sequence
from pathlib import Path

from ray_ue.cli.submit import describe_submission
from ray_ue.config.job import Job
from ray_ue.results.tables import TRIALS
from ray_ue.storage.artifacts import Artifact, Folder


def print_plan(words: Sequence[str], plan: str, *, uris: Sequence[str]) -> int:
    """Print what a command would do, and how to run it as a Ray job; `uris` are the places that it reads and writes."""
    found = tuple(uri for uri in uris if uri.strip())
    print("\n".join(part for part in (plan, describe_submission(words[0], words[1:], uris=found, folder=Path.cwd())) if part))
    return 0


def print_evaluation(run: Folder) -> int:
    """The headline of every copy, and where the rest lies."""
    print(run.read("results.md").decode().split("\n## All lines")[0].strip())
    print(f"\npage          {run.path('report.html')}\ntable         {run.path('results.parquet')}")
    print(f"keep private  {run.uri}  (it holds clean images, and the page shows some)")
    return 0


def print_sweep(found: Folder) -> int:
    """The table of a sweep, and where the rest lies."""
    print(found.read("sweep.md").decode().strip())
    print(f"\npage          {found.path('report.html')}\ntable         {found.path(TRIALS.name)}")
    print(f"keep private  {found.uri}  (it holds clean images and what undoes the protection; publish only the copy you choose)")
    return 0


def print_copy(made: Job, done: dict[str, Artifact], until: str) -> int:
    """The last lines: what was written where."""
    if "export" not in done:
        artifact = list(done.values())[-1]
        print(f"{until}: {artifact.folder.uri}")
        return 0
    facts = done["export"].facts
    print(f"protected copy  {made.output.uri}  ({facts['images']:,} images, {facts['bytes'] / 2**20:,.1f} MiB)")
    budget = made.recipe.levels()
    kept = f"of the {budget} budget" if facts["most_levels"] <= budget.levels else f"({budget} is not kept by this method or format)"
    print(f"largest change  {facts['most_levels']}/255 {kept}, PSNR {facts['psnr_mean']} dB", end="")
    seen = facts["ssim_images"]
    print(f", SSIM {facts['ssim_mean']} on {seen} image{'s' if seen > 1 else ''}" if seen else "")
    if facts["rejected"]:
        print(f"set aside       {facts['rejected']:,} images, listed with reasons in {done['export'].folder.path('rejected.parquet')}")
    print(f"keep private    {made.work.uri}  (perturbations, clusters, ledger: whoever has them can undo the protection)")
    if until == "verify":
        print("verified        every image was read back: names, labels, checksums and the budget hold")
    return 0
