"""The effect of each axis of a sweep: accuracy along it, and `kept` over two axes."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from ray_ue.report.evaluation.curves import SIZE, draw_bars
from ray_ue.report.evaluation.folder import relabels, victims
from ray_ue.report.svg import SLOTS, Chart
from ray_ue.report.sweep.folder import SweepFolder, numeric
from ray_ue.results.evaluation import ResultLine
from ray_ue.results.pareto import Row, parse_point
from ray_ue.results.score import Score
from ray_ue.results.text import format_score_in_sentence

MOST_PANELS = 60  # drawings along the axes
MOST_VALUES = 20  # of an axis of the heat map
MOST_TICKS = 7
LOG = 30  # largest over smallest value from which an axis is logarithmic

Panel = tuple[str, list[tuple[float, ResultLine]]]  # caption, and a line of results at each value of the axis


def along_axes(sweep: SweepFolder) -> dict[str, Any]:
    """A chart for each numeric axis, value of the other axes, and victim."""
    panels = [(axis, *panel_parts) for axis in sweep.varied() for panel_parts in panels_of(sweep, axis)]
    relabel_names = relabels([line for _, _, points in panels for _, line in points])
    charts = [draw_panel(f"along-{at}", *panel, relabel_names) for at, panel in enumerate(panels[:MOST_PANELS])]
    return {"charts": charts, "relabels": relabel_names, "hues": len(SLOTS), "count": len(panels)}


def panels_of(sweep: SweepFolder, axis: str) -> list[Panel]:
    values, others = sweep.varied()[axis], {name: panels for name, panels in sweep.varied().items() if name != axis}
    if any(math.isnan(numeric(axis, value)) for value in values):
        return []
    panels = []
    for rest in product(*others.values()):
        fixed = dict(zip(others, rest, strict=True))
        trials = [row for row in sweep.rows if row["status"] == "done" and {name: parse_point(row).get(name) for name in others} == fixed]
        points = [
            (numeric(axis, parse_point(row)[axis]), line) for row in trials if axis in parse_point(row) for line in sweep.plainly(row)
        ]
        for victim in victims([line for _, line in points]):
            chosen = [(x, line) for x, line in points if line.victim == victim]
            defense = ", ".join(sorted({line.defense for _, line in chosen}))
            caption = ", ".join([*(f"{name} {value}" for name, value in fixed.items()), f"victim {victim}", f"defense {defense}"])
            panels.append((caption, chosen))
    return panels


def draw_panel(name: str, axis: str, caption: str, points: Sequence[tuple[float, ResultLine]], relabel_names: Sequence[str]) -> Chart:
    def draw(axes: list[Axes]) -> None:
        for at, relabel in enumerate(relabel_names):
            series = sorted(((x, line) for x, line in points if line.relabel == relabel), key=lambda entry: entry[0])
            color = SLOTS[at % len(SLOTS)]
            draw_bars(axes[0], [(x / 100, line.protected) for x, line in series], color=color)  # `bars` takes shares
            draw_reference(axes[0], [(x, line.clean) for x, line in series], color=color, style="--")
            draw_reference(axes[0], [(x, line.noise) for x, line in series], color=color, style=":")
        axes[0].set(ylim=(0, 100), xlabel=axis, ylabel="accuracy, %")
        set_ticks(axes[0], sorted({x for x, _ in points}))

    values = "; ".join(
        f"{axis} {x:g}, {line.relabel}: {format_score_in_sentence(line.protected)}"
        for x, line in sorted(points, key=lambda entry: (entry[1].relabel, entry[0]))
    )
    label = f"Accuracy on clean test images over {axis}, {caption}: {values}"
    return Chart(name=name, caption=axis, note=caption).drawn(draw, label=label, size=SIZE)


def draw_reference(axes: Axes, points: Sequence[tuple[float, Score]], *, color: str, style: str) -> None:
    """Draw a control: a horizontal line if it is constant, or a line through its points."""
    known_points = [(x, 100 * score.mean) for x, score in points if score.n]
    if len({y for _, y in known_points}) == 1:
        axes.axhline(known_points[0][1], color=color, linestyle=style, linewidth=1, alpha=0.8)
    elif known_points:
        axes.plot(*zip(*known_points, strict=True), color=color, linestyle=style, linewidth=1, alpha=0.8)


def set_ticks(axes: Axes, values: Sequence[float]) -> None:
    if values[0] > 0 and values[-1] / values[0] >= LOG:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    step = math.ceil(len(values) / MOST_TICKS)
    axes.xaxis.set_major_locator(FixedLocator(list(values[::step])))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))


def heat(sweep: SweepFolder) -> dict[str, Any]:
    """`kept` over the first two axes that vary; empty for fewer axes, without rows if a value has no room."""
    if len(sweep.varied()) < 2:
        return {}
    (down, rows), (across, columns) = list(sweep.varied().items())[:2]
    table = {"down": down, "across": across, "columns": columns, "count": len(rows), "most": MOST_VALUES, "axes": len(sweep.varied())}
    if max(len(rows), len(columns)) > MOST_VALUES:
        return {**table, "rows": {}}
    trials_at: dict[tuple[Any, Any], list[Row]] = {}
    for trial in sweep.rows:
        place = parse_point(trial)
        trials_at.setdefault((place.get(down), place.get(across)), []).append(trial)
    return {**table, "rows": {value: [heat_cell(sweep, trials_at.get((value, column), [])) for column in columns] for value in rows}}


def heat_cell(sweep: SweepFolder, rows: Sequence[Row]) -> dict[str, Any]:
    """The best of the trials at one place; `kept` is None, with a reason, if none can be compared."""
    compared = [trial for trial in sweep.compared() if trial in rows]
    if not compared:
        reason = "not tried" if not rows else "unknown" if rows[0]["status"] == "done" else rows[0]["status"]
        return {"kept": None, "reason": reason}
    best = compared[0]
    notes = [*(["front"] if best["name"] in sweep.best else []), *([f"best of {len(rows)}"] if len(rows) > 1 else [])]
    return {"kept": best["kept"], "note": " ".join(notes)}
