"""The page of a sweep: all sections in order, and its Markdown. It knows the order, not the content."""

from collections.abc import Callable

from ray_ue.report.shell import document
from ray_ue.report.sweep import trials
from ray_ue.report.sweep.advice import markdown
from ray_ue.report.sweep.axes import along, heat
from ray_ue.report.sweep.folder import SweepFolder
from ray_ue.report.sweep.scatter import scatter
from ray_ue.storage.artifacts import Folder

PAGE, TEXT = "report.html", "sweep.md"

# id, title, what to know before reading, content; a section without content is left out
SECTIONS: tuple[tuple[str, str, str, Callable[[SweepFolder], str]], ...] = (
    (
        "headline",
        "What to choose from",
        "For each setting the worst case counts: the combination of victim, labels and defense that keeps most of what clean images teach. "
        "Lower protects more.",
        trials.headline,
    ),
    ("front", "Protection over visibility", "Low and to the left is better: less is learnt from a smaller change.", scatter),
    (
        "along",
        "Accuracy along each axis",
        "Accuracy on clean test images, mean over seeds, without a defense (with the first defense where that was not asked for).",
        along,
    ),
    ("heat", "Two axes together", "Worst-case share of what clean images teach that is kept.", heat),
    ("trials", "All trials", "", trials.finished),
    ("unfinished", "What did not finish", "", trials.unfinished_ones),
    ("cost", "Cost", "", trials.cost),
    ("made", "How this was made", "", trials.made),
    ("limits", "Limits", "What these numbers do not say.", trials.limits),
)


def write_sweep_page(run: Folder) -> None:
    """Write `report.html` and `sweep.md` into a folder with `sweep.json`, `sweep.parquet` and, if any trial finished, `evaluation/`."""
    of = SweepFolder.of(run)
    run.write(TEXT, markdown(of).encode())
    run.write(PAGE, render(of).encode())


def render(of: SweepFolder) -> str:
    """The whole page; equal sweeps give equal pages."""
    shown = [(name, head, lead, content) for name, head, lead, make in SECTIONS if (content := make(of))]
    return document(of.title, kind="ray-ue sweep", told=told(of), first="what to choose from", shown=shown)


def told(of: SweepFolder) -> str:
    """How much was tried, in one line."""
    values = [f"{axis}: {', '.join(map(str, found))}" for axis, found in of.axes().items()]
    seeds = of.request.get("seeds", 0)
    searched = [of.request["search"]] if "search" in of.request else []
    return " · ".join([f"{len(of.rows)} settings", *searched, *([f"{seeds} seed{'s' if seeds > 1 else ''}"] if seeds else []), *values])
