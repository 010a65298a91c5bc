"""The page of an evaluation: all sections in order. It knows the order, not the content."""

from collections.abc import Callable
from dataclasses import dataclass

from ray_ue.report.evaluation import about, association, cards, curves, gallery, information, maps, tables
from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.words import markdown
from ray_ue.report.shell import document
from ray_ue.results.tables import INFORMATION
from ray_ue.storage.artifacts import Folder

PAGE, TEXT, MEASURED = "report.html", "results.md", "information.md"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where the page and its Markdown lie, and how large the page is."""

    page: str
    text: str
    bytes: int


# id, title, what to know before reading, content; a section without content is left out
SECTIONS: tuple[tuple[str, str, str, Callable[[EvaluationFolder], str]], ...] = (
    (
        "headline",
        "Worst case",
        "Of all victims, defenses and labels, the combination that keeps most of what clean images teach. Lower protects more.",
        cards.cards,
    ),
    (
        "lines",
        "All numbers",
        "Accuracy on clean test images in percent: mean ± sample standard deviation over seeds (number of seeds). Drops are in points, "
        "against the control with the same defense.",
        tables.lines,
    ),
    (
        "heat",
        "Defenses and labels",
        "Large: how much is kept of what clean images teach the best undefended victim above chance. Small: accuracy of the protected and "
        "of the clean copy with the same defense. All in percent.",
        tables.heat,
    ),
    ("curves", "Accuracy over the epochs", "On a sample of the test images: curve_rows of them, see “How this was made”.", curves.curves),
    (
        "mixtures",
        "When part of the rows is clean",
        "A protection that works makes the mixture no better than its clean rows alone.",
        curves.mixtures,
    ),
    ("pictures", "Before and after", "", gallery.gallery),
    ("clusters", "Clusters", "Images of one cluster share one perturbation.", gallery.clusters),
    (
        "map",
        "Features",
        "Uniformity: how evenly features of length 1 spread over the sphere (the lower, the more evenly). Discrepancy: how far protecting "
        "an image moves its feature.",
        maps.maps,
    ),
    (
        "information",
        "Mutual information",
        "What the features of clean images tell about the features of the images that a victim was trained on: MI-UE argues that the less, "
        "the worse it learns.",
        information.information,
    ),
    ("visibility", "How visible it is", "", about.visibility),
    ("classes", "Accuracy per class", "Mean over seeds on clean test images, in percent.", tables.classes),
    ("failures", "What failed", "", tables.failures),
    ("cost", "Cost", "", about.cost),
    ("made", "How this was made", "", about.made),
    ("limits", "Limits", "What these numbers do not say.", about.limits),
)


def report(run: Folder) -> Report:
    """Write `report.html` and `results.md` into the run folder; needs `results.parquet` and `run.json`, shows whatever else is there.

    Where `ray-ue measure` left its table, `information.md` too.
    """
    of = EvaluationFolder.of(run)
    page = render(of).encode()
    run.write(TEXT, markdown(of.table, of.run).encode())
    if (measured := INFORMATION.read_if_present(run)).num_rows:
        run.write(MEASURED, association.markdown(measured, title=of.run["title"]).encode())
    run.write(PAGE, page)
    return Report(page=run.path(PAGE), text=run.path(TEXT), bytes=len(page))


def render(of: EvaluationFolder) -> str:
    """The whole page; equal runs give equal pages."""
    shown = [(name, head, lead, content) for name, head, lead, make in SECTIONS if (content := make(of))]
    return document(of.run["title"], kind="ray-ue evaluation", told=told(of), first="the worst case", shown=shown)


def told(of: EvaluationFolder) -> str:
    """How much was measured, in one line."""
    chosen, seeds = of.run.get("chosen", {}), len(set(of.table.column("seed").to_pylist()))
    said = [f"{of.table.num_rows:,} rows of results", f"{seeds} seed{'s' if seeds > 1 else ''}"]
    said += [
        f"{chosen[name]:,} {text}" for name, text in (("train_rows", "training images"), ("test_rows", "test images")) if name in chosen
    ]
    said += [f"at {chosen['image_size']} px"] if chosen.get("image_size") else []
    return " · ".join(said)
