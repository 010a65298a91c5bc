"""The Pareto front as a chart of `kept` over the budget."""

import math
from collections import defaultdict
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from ray_ue.report.svg import COLORS, Chart
from ray_ue.report.sweep.folder import SweepFolder
from ray_ue.results.pareto import Row, format_point, parse_point
from ray_ue.results.text import format_percent

MOST_NAMED = 24  # points with labels; with more points, only the front has labels
SIZE = (4.4, 3.3)  # inches
MOST_MARKS = 8  # budgets that each have a tick
APART = 0.055  # least distance of two labels, as a fraction of the height


def scatter(sweep: SweepFolder) -> Chart | None:
    """A point per finished trial; the front is joined by a line, the others are faint. None if no trial can be compared."""
    rows = sweep.compared()
    if not rows:
        return None
    lowest = [
        min((row for row in sweep.on_front() if row["levels"] == levels), key=lambda row: row["kept"]) for levels in front_levels(sweep)
    ]
    marks = sorted({row["levels"] for row in rows})

    def draw(axes: list[Axes]) -> None:
        axes[0].plot([row["levels"] for row in lowest], [100 * row["kept"] for row in lowest], color=COLORS["part"], linewidth=1.2)
        for row in reversed(rows):
            draw_point(axes[0], sweep, row)
        axes[0].set(xlabel="budget, levels of 255", ylabel="kept, %", ylim=(0, upper_limit(sweep, rows)))
        axes[0].margins(x=0.3)
        axes[0].xaxis.set_major_locator(FixedLocator(marks) if len(marks) <= MOST_MARKS else MaxNLocator(integer=True))
        label_points(axes[0], sweep, rows)

    places = [
        f"{format_point(row)}: {format_percent(row['kept'])} % at {row['levels']} levels{', on the front' * is_on_front(sweep, row)}"
        for row in rows
    ]
    note = "green and joined: the front (the lowest at each budget is joined); grey: the rest"
    note += "; bars: one standard deviation of the victims over seeds" if any(row["n"] and row["n"] > 1 for row in rows) else ""
    chart = Chart(name="front-scatter", caption="How much is kept, over the budget", note=note)
    return chart.drawn(draw, label=f"Kept over budget, {len(rows)} trials: {'; '.join(places)}", size=SIZE)


def front_levels(sweep: SweepFolder) -> list[int]:
    return sorted({row["levels"] for row in sweep.on_front()})


def is_on_front(sweep: SweepFolder, row: Row) -> bool:
    return row["name"] in sweep.best


def draw_point(axes: Axes, sweep: SweepFolder, row: Row) -> None:
    score = sweep.score(row)
    color, faint = (COLORS["part"], 1.0) if is_on_front(sweep, row) else (COLORS["noise"], 0.45)
    error = 0.0 if math.isnan(score.spread) else 100 * score.spread
    axes.errorbar(row["levels"], 100 * row["kept"], yerr=error, color=color, alpha=faint, marker="o", markersize=5, capsize=2, linewidth=1)


def upper_limit(sweep: SweepFolder, rows: Sequence[Row]) -> float:
    """A limit slightly above the highest error bar."""
    ends = [100 * (row["kept"] + (0.0 if math.isnan(spread := sweep.score(row).spread) else spread)) for row in rows]
    return max(10.0, 1.12 * max(ends))


def label_points(axes: Axes, sweep: SweepFolder, rows: Sequence[Row]) -> None:
    """Write the setting of each trial next to its point, moved up where labels would overlap."""
    named = rows if len(rows) <= MOST_NAMED else sweep.on_front()
    columns: dict[int, list[Row]] = defaultdict(list)
    for row in named:
        columns[row["levels"]].append(row)
    height = axes.get_ylim()[1]
    last = max(row["levels"] for row in rows)
    for levels, column in columns.items():
        left = levels == last and len({row["levels"] for row in rows}) > 1
        style = {"xytext": (-6, 0) if left else (6, 0), "ha": "right" if left else "left", "va": "center", "textcoords": "offset points"}
        height_of_label = -height
        for row in sorted(column, key=lambda row: row["kept"]):
            height_of_label = max(100 * row["kept"], height_of_label + APART * height)
            strong = 1.0 if is_on_front(sweep, row) else 0.6
            axes.annotate(short_label(sweep, row), (levels, height_of_label), **style, fontsize=8, parse_math=False, alpha=strong)  # type: ignore[arg-type]


def short_label(sweep: SweepFolder, row: Row) -> str:
    """The values of the varying axes, without the budget, which is an axis of the chart."""
    parts = [f"{axis} {value}" for axis, value in parse_point(row).items() if axis in sweep.varied() and axis != "budget"]
    return ", ".join(parts) or format_point(row)
