"""The section on mutual information: its scatter, its table, its correlation and its limits. It knows lines of measurements, no network."""

from collections.abc import Sequence

import pyarrow as pa
from matplotlib.axes import Axes

from ray_ue.report.evaluation.association import LIMIT, by_estimator, columns, depths, entries, format_nats, key, sentence
from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.html import cell, escape, figure, heading, missing, row, table
from ray_ue.report.svg import COLORS, INK, svg
from ray_ue.results import information as gaps
from ray_ue.results.information import InformationLine, lines_with_gaps
from ray_ue.results.tables import INFORMATION
from ray_ue.results.text import format_percent

MOST_NAMED = 24  # points that get their name written beside them
SIZE = (4.6, 3.2)


def information(of: EvaluationFolder) -> str:
    """Nothing where nothing was measured."""
    measured = INFORMATION.read_if_present(of.folder)
    if not measured.num_rows:
        return ""
    found = gaps.lines(measured)
    told = "".join(f"<li>{escape(sentence(one))}</li>" for one in gaps.associations(found))
    pairs = [count for count in measured.column("rows").to_pylist() if count]
    body = f"<p>{escape(key(pairs))}</p>" if pairs else ""
    body += f'<ul id="correlations">{told}</ul>' if told else missing("No correlation:", "no method was measured beside its clean control.")
    body += f'<p class="doubt">{escape(LIMIT)}</p>'
    split = by_estimator(found)
    drawn = "".join(
        scatter(f"gaps-{number}", name, lines_with_gaps(mine)) for number, (name, mine) in enumerate(split.items()) if lines_with_gaps(mine)
    )
    body += f'<div class="grid">{drawn}</div>' if drawn else ""
    body += "".join(figure(f"information-{number}", numbers(mine, name), caption=name) for number, (name, mine) in enumerate(split.items()))
    return body + deep(found) + left_out(measured)


def scatter(name: str, estimator: str, mine: Sequence[InformationLine]) -> str:
    """A point per method and victim: how far below the clean control its accuracy and its information lie."""

    many = [column for column in ("victim", "relabel") if len({getattr(line, column) for line in mine}) > 1]
    middle = (min(line.gap for line in mine) + max(line.gap for line in mine)) / 2

    def draw(axes: list[Axes]) -> None:
        for line in mine:
            place, left = (line.gap, 100 * line.accuracy_gap), line.gap > middle
            axes[0].plot(*place, "o", color=COLORS[line.data], markersize=5)
            if len(mine) <= MOST_NAMED:
                text = ", ".join([line.name, *(getattr(line, column) for column in many)])
                beside = {"xytext": (-5, 3) if left else (5, 3), "ha": "right" if left else "left", "textcoords": "offset points"}
                axes[0].annotate(text, place, **beside, fontsize=7, parse_math=False)  # type: ignore[arg-type]
        axes[0].axhline(0, color=INK, alpha=0.45, linewidth=0.8)
        axes[0].axvline(0, color=INK, alpha=0.45, linewidth=0.8)
        axes[0].margins(0.18)
        axes[0].set(xlabel="information below the clean control, nats", ylabel="accuracy below it, points")

    told = "; ".join(
        f"{line.name}, {line.victim}: {format_nats(line.gap)} nats, {format_percent(line.accuracy_gap)} points" for line in mine
    )
    body = svg(draw, name=name, label=f"Accuracy gap over information gap, {estimator}: {told}", size=SIZE, columns=1)
    return figure(name, body, caption=estimator, note=f"{len(mine)} points; orange: protected, grey: noise", kind="map")


def numbers(mine: Sequence[InformationLine], name: str) -> str:
    shown = [column for column in columns(mine) if column != "trained on"]
    rows = []
    for line in mine:
        texts, raw = entries(line), values(line)
        cells = [cell(texts[column], value=raw.get(column, float("nan")), column=column) for column in shown]
        place = {"method": line.name, "victim": line.victim, "relabel": line.relabel, "layer": line.layer}
        rows.append(row([heading(line.name), *cells], data=place))
    return table(["trained on", *shown], rows, label=f"Mutual information by {name}")


def values(line: InformationLine) -> dict[str, float]:
    """The raw number of each column that has one."""
    return {
        "information": line.information.mean,
        "corrected": line.corrected.mean,
        "± slices": line.stderr,
        "gap": line.gap,
        "accuracy": line.accuracy.mean,
        "accuracy gap": line.accuracy_gap,
        "log det": line.logdet.mean,
        "intra": line.intra.mean,
        "inter": line.inter.mean,
    }


def deep(found: Sequence[InformationLine]) -> str:
    if not (every := depths(found)):
        return ""
    head, *rest = every
    rows = [row([heading(texts[0]), *(cell(text) for text in texts[1:])], data={"victim": texts[3]}) for texts in rest]
    body = table(head, rows, label="Gaps by depth of the victim")
    return figure("depth", body, caption="From the shallowest victim on", note="MI-UE's order of depth; others follow by name")


def left_out(measured: pa.Table) -> str:
    return "".join(missing(f"{count} victim{'s' if count > 1 else ''} skipped:", reason) for reason, count in gaps.count_skipped(measured))
