"""The front as a drawing: how visible each trial's budget is, and how much it leaves to learn. It knows trials, no accuracy curves."""

import math
from collections import defaultdict
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from ray_ue.report.html import figure, missing
from ray_ue.report.svg import COLORS, svg
from ray_ue.report.sweep.folder import SweepFolder
from ray_ue.results.pareto import Row, format_point, parse_point
from ray_ue.results.text import format_percent

MOST_NAMED = 24  # points that get their place written beside them; beyond it only those on the front
SIZE = (4.4, 3.3)  # inches
MOST_MARKS = 8  # budgets that the axis names one by one
APART = 0.055  # of the height, between two labels


def scatter(of: SweepFolder) -> str:
    """A point per finished trial; the front is joined, the others are faint."""
    rows = of.compared()
    if not rows:
        return missing("No front:", "no trial finished with known protection, budget and cost.")
    lowest = [min((row for row in of.on_front() if row["levels"] == levels), key=lambda row: row["kept"]) for levels in levels_of(of)]

    marks = sorted({row["levels"] for row in rows})

    def draw(axes: list[Axes]) -> None:
        axes[0].plot([row["levels"] for row in lowest], [100 * row["kept"] for row in lowest], color=COLORS["part"], linewidth=1.2)
        for row in reversed(rows):
            dot(axes[0], of, row)
        axes[0].set(xlabel="budget, levels of 255", ylabel="kept, %", ylim=(0, top(of, rows)))
        axes[0].margins(x=0.3)
        axes[0].xaxis.set_major_locator(FixedLocator(marks) if len(marks) <= MOST_MARKS else MaxNLocator(integer=True))
        name_points(axes[0], of, rows)

    places = [
        f"{format_point(row)}: {format_percent(row['kept'])} % at {row['levels']} levels{', on the front' * on(of, row)}" for row in rows
    ]
    body = svg(draw, name="front-scatter", label=f"Kept over budget, {len(rows)} trials: {'; '.join(places)}", size=SIZE, columns=1)
    note = "green and joined: the front (the lowest at each budget is joined); grey: the rest"
    note += "; bars: one standard deviation of the victims over seeds" if any(row["n"] and row["n"] > 1 for row in rows) else ""
    return figure("front-scatter", body, caption="How much is kept, over the budget", note=note)


def levels_of(of: SweepFolder) -> list[int]:
    return sorted({row["levels"] for row in of.on_front()})


def on(of: SweepFolder, row: Row) -> bool:
    return row["name"] in of.best


def dot(axes: Axes, of: SweepFolder, row: Row) -> None:
    score = of.score(row)
    color, faint = (COLORS["part"], 1.0) if on(of, row) else (COLORS["noise"], 0.45)
    error = 0.0 if math.isnan(score.spread) else 100 * score.spread
    axes.errorbar(row["levels"], 100 * row["kept"], yerr=error, color=color, alpha=faint, marker="o", markersize=5, capsize=2, linewidth=1)


def top(of: SweepFolder, rows: Sequence[Row]) -> float:
    """A little above the highest bar."""
    ends = [100 * (row["kept"] + (0.0 if math.isnan(spread := of.score(row).spread) else spread)) for row in rows]
    return max(10.0, 1.12 * max(ends))


def name_points(axes: Axes, of: SweepFolder, rows: Sequence[Row]) -> None:
    """The place of each trial beside its point, moved up where two would lie on each other."""
    named = rows if len(rows) <= MOST_NAMED else of.on_front()
    columns: dict[int, list[Row]] = defaultdict(list)
    for row in named:
        columns[row["levels"]].append(row)
    height = axes.get_ylim()[1]
    last = max(row["levels"] for row in rows)
    for levels, column in columns.items():
        left = levels == last and len({row["levels"] for row in rows}) > 1
        beside = {"xytext": (-6, 0) if left else (6, 0), "ha": "right" if left else "left", "va": "center", "textcoords": "offset points"}
        at = -height
        for row in sorted(column, key=lambda row: row["kept"]):
            at = max(100 * row["kept"], at + APART * height)
            strong = 1.0 if on(of, row) else 0.6
            axes.annotate(short(of, row), (levels, at), **beside, fontsize=8, parse_math=False, alpha=strong)  # type: ignore[arg-type]


def short(of: SweepFolder, row: Row) -> str:
    """The values of the axes that vary; the budget lies on the drawing's own axis."""
    told = [f"{axis} {value}" for axis, value in parse_point(row).items() if axis in of.varied() and axis != "budget"]
    return ", ".join(told) or format_point(row)
