"""The page of a sweep, from its sections, and its Markdown text."""

from ray_ue.report.html import render
from ray_ue.report.sweep import trials
from ray_ue.report.sweep.advice import markdown
from ray_ue.report.sweep.axes import along_axes, heat
from ray_ue.report.sweep.folder import SweepFolder
from ray_ue.report.sweep.scatter import over_budget, over_visibility
from ray_ue.results.pareto import unfinished_trials
from ray_ue.storage.artifacts import Folder

PAGE, TEXT = "report.html", "sweep.md"


def write_sweep_page(run: Folder) -> None:
    """Write `report.html` and `sweep.md` into a folder with `sweep.json`, `sweep.parquet` and, if any trial finished, `evaluation/`."""
    sweep = SweepFolder.of(run)
    run.write(TEXT, markdown(sweep).encode())
    run.write(PAGE, render_page(sweep).encode())


def render_page(sweep: SweepFolder) -> str:
    """The whole page; equal sweeps give equal pages."""
    return render(
        "sweep.html",
        title=sweep.title,
        summary=summarise(sweep),
        headline=trials.headline(sweep),
        front=[chart for chart in (over_budget(sweep), over_visibility(sweep)) if chart],
        along=along_axes(sweep),
        heat=heat(sweep),
        finished=trials.finished(sweep),
        unfinished=unfinished_trials(sweep.rows),
        cost=trials.cost(sweep),
        provenance=trials.provenance(sweep),
        limits=sweep.request.get("limits", []),
    )


def summarise(sweep: SweepFolder) -> str:
    """The size of the sweep in one line."""
    axes = [f"{axis}: {', '.join(map(str, values))}" for axis, values in sweep.axes().items()]
    seeds = sweep.request.get("seeds", 0)
    search = [sweep.request["search"]] if "search" in sweep.request else []
    return " · ".join([f"{len(sweep.rows)} settings", *search, *([f"{seeds} seed{'s' if seeds > 1 else ''}"] if seeds else []), *axes])
