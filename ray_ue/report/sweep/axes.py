"""What each axis of a sweep does: accuracy along it, and what is kept over two of them. It knows trials and lines, not the page."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from ray_ue.report.evaluation.curves import SIZE, bars
from ray_ue.report.evaluation.folder import relabels, victims
from ray_ue.report.html import cell, escape, figure, heading, missing, row, table
from ray_ue.report.svg import SLOTS, svg
from ray_ue.report.sweep.folder import SweepFolder, numeric
from ray_ue.results.evaluation import ResultLine, Score
from ray_ue.results.pareto import Row, parse_point
from ray_ue.results.text import format_percent, format_score_in_sentence

MOST_PANELS = 60  # drawings along the axes
MOST_VALUES = 20  # of an axis of the heat map
MOST_TICKS = 7
LOG = 30  # largest over smallest value from which an axis is logarithmic

Panel = tuple[str, list[tuple[float, ResultLine]]]  # caption, and a line of results at each place


def along(of: SweepFolder) -> str:
    """For each numeric axis a panel per value of the other axes and per victim."""
    panels = [(axis, *found) for axis in of.varied() for found in panels_of(of, axis)]
    if not panels:
        return missing("No axis to draw:", "no axis with several numbers has evaluated copies.")
    named = relabels([line for _, _, points in panels for _, line in points])
    drawn = "".join(panel(f"along-{at}", axis, caption, points, named) for at, (axis, caption, points) in enumerate(panels[:MOST_PANELS]))
    less = f"{MOST_PANELS} of {len(panels)} panels are drawn; the rest is in evaluation/results.parquet."
    return key(named) + f'<div class="grid">{drawn}</div>' + (missing("Shortened:", less) if len(panels) > MOST_PANELS else "")


def panels_of(of: SweepFolder, axis: str) -> list[Panel]:
    values, others = of.varied()[axis], {name: found for name, found in of.varied().items() if name != axis}
    if any(math.isnan(numeric(axis, value)) for value in values):
        return []
    found = []
    for rest in product(*others.values()):
        here = dict(zip(others, rest, strict=True))
        mine = [row for row in of.rows if row["status"] == "done" and {name: parse_point(row).get(name) for name in others} == here]
        points = [(numeric(axis, parse_point(row)[axis]), line) for row in mine if axis in parse_point(row) for line in of.plainly(row)]
        for victim in victims([line for _, line in points]):
            chosen = [(at, line) for at, line in points if line.victim == victim]
            defense = ", ".join(sorted({line.defense for _, line in chosen}))
            caption = ", ".join([*(f"{name} {value}" for name, value in here.items()), f"victim {victim}", f"defense {defense}"])
            found.append((caption, chosen))
    return found


def key(named: Sequence[str]) -> str:
    shown = "".join(
        f'<i class="line" style="background:var(--slot-{at % len(SLOTS)})"></i> {escape(name)}' for at, name in enumerate(named)
    )
    said = (
        "solid: copies, bars one standard deviation over seeds; dashed: the clean control with the same labels; dotted: the noise control"
    )
    return f'<p class="key">{shown}<span>{said}</span></p>'


def panel(name: str, axis: str, caption: str, points: Sequence[tuple[float, ResultLine]], named: Sequence[str]) -> str:
    def draw(axes: list[Axes]) -> None:
        for at, relabel in enumerate(named):
            mine = sorted(((x, line) for x, line in points if line.relabel == relabel), key=lambda found: found[0])
            color = SLOTS[at % len(SLOTS)]
            bars(axes[0], [(x / 100, line.protected) for x, line in mine], color=color)  # `bars` takes shares
            reference(axes[0], [(x, line.clean) for x, line in mine], color=color, style="--")
            reference(axes[0], [(x, line.noise) for x, line in mine], color=color, style=":")
        axes[0].set(ylim=(0, 100), xlabel=axis, ylabel="accuracy, %")
        ticks(axes[0], sorted({x for x, _ in points}))

    said = "; ".join(
        f"{axis} {x:g}, {line.relabel}: {format_score_in_sentence(line.protected)}"
        for x, line in sorted(points, key=lambda one: (one[1].relabel, one[0]))
    )
    body = svg(draw, name=name, label=f"Accuracy on clean test images over {axis}, {caption}: {said}", size=SIZE, columns=1)
    return figure(name, body, caption=axis, note=caption)


def reference(axes: Axes, points: Sequence[tuple[float, Score]], *, color: str, style: str) -> None:
    """A control: one level line where it is the same everywhere, else a line through its points."""
    found = [(x, 100 * score.mean) for x, score in points if score.n]
    if len({y for _, y in found}) == 1:
        axes.axhline(found[0][1], color=color, linestyle=style, linewidth=1, alpha=0.8)
    elif found:
        axes.plot(*zip(*found, strict=True), color=color, linestyle=style, linewidth=1, alpha=0.8)


def ticks(axes: Axes, values: Sequence[float]) -> None:
    if values[0] > 0 and values[-1] / values[0] >= LOG:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    step = math.ceil(len(values) / MOST_TICKS)
    axes.xaxis.set_major_locator(FixedLocator(list(values[::step])))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))


def heat(of: SweepFolder) -> str:
    """The first two axes that vary, and what is kept; nothing where only one does."""
    if len(of.varied()) < 2:
        return ""
    (down, rows), (across, columns) = list(of.varied().items())[:2]
    if max(len(rows), len(columns)) > MOST_VALUES:
        return missing("No heat map:", f"{down} has {len(rows)} values and {across} {len(columns)}; {MOST_VALUES} fit.")
    at: dict[tuple[Any, Any], list[Row]] = {}
    for one in of.rows:
        place = parse_point(one)
        at.setdefault((place.get(down), place.get(across)), []).append(one)
    body = [row([heading(f"{value}"), *(heat_cell(of, at.get((value, other), [])) for other in columns)], data={}) for value in rows]
    drawn = table([f"{down} ↓, {across} →", *map(str, columns)], body, label=f"Share kept over {down} and {across}", kind="heat")
    note = "the lowest of each place, where other axes vary too" if len(of.varied()) > 2 else ""
    ramp = '<p class="key">0 % kept <i class="ramp"></i> 100 % kept</p>'
    return f'{ramp}<div class="flow">{figure("heat-map", drawn, caption=f"Kept, %: {down} and {across}", note=note)}</div>'


def heat_cell(of: SweepFolder, rows: Sequence[Row]) -> str:
    found = [one for one in of.compared() if one in rows]
    if not found:
        return cell(rows[0]["status"] if rows and rows[0]["status"] != "done" else "unknown" if rows else "not tried", kind="none")
    best = found[0]
    small = " ".join([*(["front"] if best["name"] in of.best else []), *([f"best of {len(rows)}"] if len(rows) > 1 else [])])
    style = f"--v:{min(100.0, 100 * best['kept']):.1f}%"
    return cell(format_percent(best["kept"]), small=small, value=best["kept"], column="kept", kind="hot", style=style)
