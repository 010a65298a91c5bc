"""The page of an evaluation, from its sections."""

from dataclasses import dataclass

from ray_ue.report.evaluation import about, association, cards, curves, gallery, information, maps, tables
from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.words import markdown
from ray_ue.report.html import render
from ray_ue.results.tables import INFORMATION
from ray_ue.storage.artifacts import Folder

PAGE, TEXT, MEASURED = "report.html", "results.md", "information.md"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The paths of the page and of its Markdown text, and the size of the page."""

    page: str
    text: str
    bytes: int


def report(run: Folder) -> Report:
    """Write `report.html` and `results.md` into a run folder with `results.parquet` and `run.json`.

    If the folder holds the table of `ray-ue measure`, write `information.md` too.
    """
    evaluation = EvaluationFolder.of(run)
    page = render_page(evaluation).encode()
    run.write(TEXT, markdown(evaluation.table, evaluation.run).encode())
    if (measurements := INFORMATION.read_if_present(run)).num_rows:
        run.write(MEASURED, association.markdown(measurements, title=evaluation.run["title"]).encode())
    run.write(PAGE, page)
    return Report(page=run.path(PAGE), text=run.path(TEXT), bytes=len(page))


def render_page(evaluation: EvaluationFolder) -> str:
    """The whole page; equal runs give equal pages."""
    return render(
        "evaluation.html",
        title=evaluation.run["title"],
        summary=summarise(evaluation),
        cards=cards.cards(evaluation),
        lines=tables.lines(evaluation),
        heat=tables.heat(evaluation),
        curves=curves.curves(evaluation),
        mixtures=curves.mixtures(evaluation),
        gallery=gallery.gallery(evaluation),
        gain=gallery.GAIN,
        zoom=gallery.ZOOM,
        clusters=gallery.clusters(evaluation),
        maps=maps.maps(evaluation),
        information=information.information(evaluation),
        visibility=about.visibility(evaluation),
        classes=tables.classes(evaluation),
        failures=tables.failures(evaluation),
        cost=about.cost(evaluation),
        provenance=about.provenance(evaluation),
        limits=evaluation.run.get("limits", []),
    )


def summarise(evaluation: EvaluationFolder) -> str:
    """The size of the evaluation in one line."""
    chosen, seeds = evaluation.run.get("chosen", {}), len(set(evaluation.table.column("seed").to_pylist()))
    parts = [f"{evaluation.table.num_rows:,} rows of results", f"{seeds} seed{'s' if seeds > 1 else ''}"]
    for name, text in (("train_rows", "training images"), ("test_rows", "test images")):
        parts += [f"{chosen[name]:,} {text}"] if name in chosen else []
    parts += [f"at {chosen['image_size']} px"] if chosen.get("image_size") else []
    return " · ".join(parts)
