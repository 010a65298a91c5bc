"""The Pareto front as charts of `kept` over the budget and over how visible the change is."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import AutoLocator, FixedLocator, Locator, MaxNLocator

from ray_ue.progress import counted
from ray_ue.report.svg import COLORS, Chart
from ray_ue.report.sweep.folder import SweepFolder
from ray_ue.results.pareto import Row, format_point, number_or_nan, parse_point
from ray_ue.results.text import format_percent

MOST_NAMED = 24  # points with labels; with more points, only the front has labels
SIZE = (4.4, 3.3)  # inches
MOST_MARKS = 8  # budgets that each have a tick
APART = 0.055  # least distance of two labels, as a fraction of the height
PARTS = 4  # of the axis: labels of one part keep apart

Place = Callable[[Row], float]


def over_budget(sweep: SweepFolder) -> Chart | None:
    """A point per finished trial over its budget. None if no trial can be compared."""
    rows = sweep.compared()
    if not rows:
        return None
    marks = sorted({row["levels"] for row in rows})
    chart = Chart(name="front-scatter", caption="How much is kept, over the budget", note=note_of(rows, "the lowest at each budget"))
    locator = FixedLocator(marks) if len(marks) <= MOST_MARKS else MaxNLocator(integer=True)
    return drawn(
        chart, sweep, rows, place=lambda row: row["levels"], where="at {:.0f} levels", axis="budget, levels of 255", locator=locator
    )


def over_visibility(sweep: SweepFolder) -> Chart | None:
    """The same over how visible the change is: LPIPS where every compared trial has it, else SSIM. None for fewer than two places."""
    rows = sweep.compared()
    known = all(row["lpips"] is not None for row in rows)
    name = "LPIPS" if known else "1 − SSIM"

    def place(row: Row) -> float:
        return row["lpips"] if known else 1 - number_or_nan(row["ssim"])

    rows = [row for row in rows if not math.isnan(place(row))]
    if len({place(row) for row in rows}) < 2:
        return None
    chart = Chart(
        name="front-visibility",
        caption=f"How much is kept, over how visible the change is ({name}; 0: no change)",
        note=note_of(rows, "what no other has below and to the left of it"),
    )
    return drawn(chart, sweep, rows, place=place, where=f"at {name} {{:.3f}}", axis=name, locator=AutoLocator())


def note_of(rows: Sequence[Row], joined: str) -> str:
    note = f"green: on the front of all trials; joined: {joined}; grey: the rest"
    return note + ("; bars: one standard deviation of the victims over seeds" if any(row["n"] and row["n"] > 1 for row in rows) else "")


def drawn(chart: Chart, sweep: SweepFolder, rows: Sequence[Row], *, place: Place, where: str, axis: str, locator: Locator) -> Chart:
    """The chart with a point per trial, its place along the axis given by `place`, and the lower left of them joined."""
    joined = lower_left(rows, place=place)

    def draw(axes: list[Axes]) -> None:
        axes[0].plot([place(row) for row in joined], [100 * row["kept"] for row in joined], color=COLORS["part"], linewidth=1.2)
        for row in reversed(rows):
            draw_point(axes[0], sweep, row, place(row))
        axes[0].set(xlabel=axis, ylabel="kept, %", ylim=(0, upper_limit(sweep, rows)))
        axes[0].margins(x=0.3)
        axes[0].xaxis.set_major_locator(locator)
        label_points(axes[0], sweep, rows, place=place)

    places = [
        f"{format_point(row)}: {format_percent(row['kept'])} % {where.format(place(row))}{', on the front' * is_on_front(sweep, row)}"
        for row in rows
    ]
    return chart.drawn(draw, label=f"{chart.caption}, {counted(len(rows), 'trial')}: {'; '.join(places)}", size=SIZE)


def lower_left(rows: Sequence[Row], *, place: Place) -> list[Row]:
    """From left to right, every row that keeps less than all to the left of it."""
    chosen: list[Row] = []
    for row in sorted(rows, key=lambda row: (place(row), row["kept"])):
        if not chosen or row["kept"] < chosen[-1]["kept"]:
            chosen.append(row)
    return chosen


def is_on_front(sweep: SweepFolder, row: Row) -> bool:
    return row["name"] in sweep.best


def draw_point(axes: Axes, sweep: SweepFolder, row: Row, x: float) -> None:
    score = sweep.score(row)
    color, faint = (COLORS["part"], 1.0) if is_on_front(sweep, row) else (COLORS["noise"], 0.45)
    error = 0.0 if math.isnan(score.spread) else 100 * score.spread
    axes.errorbar(x, 100 * row["kept"], yerr=error, color=color, alpha=faint, marker="o", markersize=5, capsize=2, linewidth=1)


def upper_limit(sweep: SweepFolder, rows: Sequence[Row]) -> float:
    """A limit slightly above the highest error bar."""
    ends = [100 * (row["kept"] + (0.0 if math.isnan(spread := sweep.score(row).spread) else spread)) for row in rows]
    return max(10.0, 1.12 * max(ends))


def label_points(axes: Axes, sweep: SweepFolder, rows: Sequence[Row], *, place: Place) -> None:
    """Write the setting of each trial next to its point, moved up where labels would overlap: those in one part of the axis could."""
    named = rows if len(rows) <= MOST_NAMED else sweep.on_front()
    first, last = min(map(place, rows)), max(map(place, rows))
    columns: dict[int, list[Row]] = defaultdict(list)
    for row in named:
        columns[round((place(row) - first) / (last - first) * PARTS) if last > first else 0].append(row)
    height = axes.get_ylim()[1]
    for part, column in columns.items():
        left = part > PARTS / 2
        style = {"xytext": (-6, 0) if left else (6, 0), "ha": "right" if left else "left", "va": "center", "textcoords": "offset points"}
        height_of_label = -height
        for row in sorted(column, key=lambda row: row["kept"]):
            height_of_label = max(100 * row["kept"], height_of_label + APART * height)
            strong = 1.0 if is_on_front(sweep, row) else 0.6
            axes.annotate(short_label(sweep, row), (place(row), height_of_label), **style, fontsize=8, parse_math=False, alpha=strong)  # type: ignore[arg-type]


def short_label(sweep: SweepFolder, row: Row) -> str:
    """The values of the varying axes, without the budget, which is an axis of the chart."""
    parts = [f"{axis} {value}" for axis, value in parse_point(row).items() if axis in sweep.varied() and axis != "budget"]
    return ", ".join(parts) or format_point(row)
