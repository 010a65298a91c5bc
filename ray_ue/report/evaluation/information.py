"""The section on mutual information: correlations, scatter plots, tables and limits."""

from collections.abc import Sequence

import pyarrow as pa
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
from ray_ue.report.html import cell, escape, figure, heading, notice, row, table
from ray_ue.report.svg import COLORS, INK, draw_svg
from ray_ue.results import information as gaps
from ray_ue.results.information import InformationLine, lines_with_gaps
from ray_ue.results.tables import INFORMATION
from ray_ue.results.text import format_percent

MOST_NAMED = 24  # points with their names next to them
SIZE = (4.6, 3.2)


def information(evaluation: EvaluationFolder) -> str:
    """The whole section; empty without measurements."""
    measurements = INFORMATION.read_if_present(evaluation.folder)
    if not measurements.num_rows:
        return ""
    result_lines = gaps.lines(measurements)
    sentences = "".join(f"<li>{escape(describe_association(association))}</li>" for association in gaps.associations(result_lines))
    pairs = [count for count in measurements.column("rows").to_pylist() if count]
    body = f"<p>{escape(explanation(pairs))}</p>" if pairs else ""
    body += (
        f'<ul id="correlations">{sentences}</ul>'
        if sentences
        else notice("No correlation:", "no method was measured together with its clean control.")
    )
    body += f'<p class="doubt">{escape(LIMIT)}</p>'
    split = group_by_estimator(result_lines)
    drawn = "".join(
        scatter(f"gaps-{number}", name, lines_with_gaps(group))
        for number, (name, group) in enumerate(split.items())
        if lines_with_gaps(group)
    )
    body += f'<div class="grid">{drawn}</div>' if drawn else ""
    body += "".join(
        figure(f"information-{number}", information_table(group, name), caption=name) for number, (name, group) in enumerate(split.items())
    )
    return body + depth_table(result_lines) + skipped_notices(measurements)


def scatter(name: str, estimator: str, lines: Sequence[InformationLine]) -> str:
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
    body = draw_svg(draw, name=name, label=f"Accuracy gap over information gap, {estimator}: {values_text}", size=SIZE, columns=1)
    return figure(name, body, caption=estimator, note=f"{len(lines)} points; orange: protected, grey: noise", kind="map")


def information_table(lines: Sequence[InformationLine], estimator: str) -> str:
    names = [column for column in informative_columns(lines) if column != "trained on"]
    rows = []
    for line in lines:
        entries = row_entries(line)
        cells = [cell(entries[name][0], value=entries[name][1], column=name) for name in names]
        place = {"method": line.name, "victim": line.victim, "relabel": line.relabel, "layer": line.layer}
        rows.append(row([heading(line.name), *cells], data=place))
    return table(["trained on", *names], rows, label=f"Mutual information by {estimator}")


def depth_table(lines: Sequence[InformationLine]) -> str:
    if not (texts_of_rows := depth_rows(lines)):
        return ""
    head, *rest = texts_of_rows
    rows = [row([heading(texts[0]), *(cell(text) for text in texts[1:])], data={"victim": texts[3]}) for texts in rest]
    body = table(head, rows, label="Gaps by depth of the victim")
    return figure("depth", body, caption="From the shallowest victim on", note="MI-UE's order of depth; others follow by name")


def skipped_notices(measurements: pa.Table) -> str:
    return "".join(
        notice(f"{count} victim{'s' if count > 1 else ''} skipped:", reason) for reason, count in gaps.count_skipped(measurements)
    )
