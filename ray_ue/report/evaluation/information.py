"""The section on mutual information: correlations, scatter plots and tables."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from ray_ue.report.evaluation.association import (
    LIMIT,
    depth_rows,
    describe_association,
    explanation,
    format_nats,
    group_by_estimator,
    informative_columns,
    row_entries,
)
from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.svg import COLORS, INK, Chart
from ray_ue.results import information as gaps
from ray_ue.results.information import InformationLine, lines_with_gaps
from ray_ue.results.tables import INFORMATION
from ray_ue.results.text import format_percent

MOST_NAMED = 24  # points with their names next to them
SIZE = (4.6, 3.2)


def information(evaluation: EvaluationFolder) -> dict[str, Any]:
    """The whole section; empty without measurements."""
    measurements = INFORMATION.read_if_present(evaluation.folder)
    if not measurements.num_rows:
        return {}
    result_lines = gaps.lines(measurements)
    pairs = [count for count in measurements.column("rows").to_pylist() if count]
    by_estimator = group_by_estimator(result_lines)
    with_gaps = [(number, name, lines_with_gaps(group)) for number, (name, group) in enumerate(by_estimator.items())]
    return {
        "explanation": explanation(pairs) if pairs else "",
        "correlations": [describe_association(association) for association in gaps.associations(result_lines)],
        "limit": LIMIT,
        "charts": [scatter(f"gaps-{number}", name, group) for number, name, group in with_gaps if group],
        "tables": {name: information_table(group) for name, group in by_estimator.items()},
        "depth": depth_rows(result_lines),
        "skipped": gaps.count_skipped(measurements),
    }


def scatter(name: str, estimator: str, lines: Sequence[InformationLine]) -> Chart:
    """A point per method and victim: the gaps of its accuracy and information to the clean control."""
    varying = [column for column in ("victim", "relabel") if len({getattr(line, column) for line in lines}) > 1]
    middle = (min(line.gap for line in lines) + max(line.gap for line in lines)) / 2

    def draw(axes: list[Axes]) -> None:
        for line in lines:
            place, left = (line.gap, 100 * line.accuracy_gap), line.gap > middle
            axes[0].plot(*place, "o", color=COLORS[line.data], markersize=5)
            if len(lines) <= MOST_NAMED:
                text = ", ".join([line.name, *(getattr(line, column) for column in varying)])
                style = {"xytext": (-5, 3) if left else (5, 3), "ha": "right" if left else "left", "textcoords": "offset points"}
                axes[0].annotate(text, place, **style, fontsize=7, parse_math=False)  # type: ignore[arg-type]
        axes[0].axhline(0, color=INK, alpha=0.45, linewidth=0.8)
        axes[0].axvline(0, color=INK, alpha=0.45, linewidth=0.8)
        axes[0].margins(0.18)
        axes[0].set(xlabel="information below the clean control, nats", ylabel="accuracy below it, points")

    values_text = "; ".join(
        f"{line.name}, {line.victim}: {format_nats(line.gap)} nats, {format_percent(line.accuracy_gap)} points" for line in lines
    )
    chart = Chart(name=name, caption=estimator, note=f"{len(lines)} points; orange: protected, grey: noise", kind="map")
    return chart.drawn(draw, label=f"Accuracy gap over information gap, {estimator}: {values_text}", size=SIZE)


def information_table(lines: Sequence[InformationLine]) -> dict[str, Any]:
    columns = [column for column in informative_columns(lines) if column != "trained on"]
    return {"columns": columns, "rows": [(line, row_entries(line)) for line in lines]}
