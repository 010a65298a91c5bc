"""The Pareto front as charts of `kept` over the budget and over how visible the change is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import AutoLocator, FixedLocator, Locator, MaxNLocator

from ray_ue.progress import counted
from ray_ue.report.svg import COLORS, Chart
from ray_ue.report.sweep.folder import SweepFolder
from ray_ue.results.pareto import Row, format_point, number_or_nan, parse_point
from ray_ue.results.text import format_percent

MOST_NAMED = 24  # points with labels; with more points, only the front has labels
SIZE, WIDE = (4.4, 3.3), (5.6, 3.4)  # inches
MOST_MARKS = 8  # budgets that each have a tick
APART = 0.055  # least distance of two labels, as a fraction of the height
LETTER = 0.062  # inches: the width of a letter of a label, nearly

Place = Callable[[Row], float]


@dataclass(frozen=True, kw_only=True)
class Across:
    """The horizontal axis of a chart: `place` gives a trial's place, `where` says it in words, and `besides` is the axis of the sweep
    that it shows, which labels leave out. `size` of the chart is in inches."""

    place: Place
    where: str
    label: str
    locator: Locator
    size: tuple[float, float]
    besides: str = ""


def over_budget(sweep: SweepFolder) -> Chart | None:
    """A point per finished trial over its budget. None if no trial can be compared."""
    rows = sweep.compared()
    if not rows:
        return None
    marks = sorted({row["levels"] for row in rows})
    across = Across(
        place=lambda row: row["levels"],
        where="at {:.0f} levels",
        label="budget, levels of 255",
        locator=FixedLocator(marks) if len(marks) <= MOST_MARKS else MaxNLocator(integer=True),
        size=SIZE,
        besides="budget",
    )
    chart = Chart(name="front-scatter", caption="How much is kept, over the budget", note=note_of(rows, "the lowest at each budget"))
    return drawn(chart, sweep, rows, across)


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
    across = Across(place=place, where=f"at {name} {{:.3f}}", label=name, locator=AutoLocator(), size=WIDE)
    caption = f"How much is kept, over how visible the change is ({name}; 0: no change)"
    chart = Chart(name="front-visibility", caption=caption, note=note_of(rows, "what no other has below and to the left of it"))
    return drawn(chart, sweep, rows, across)


def note_of(rows: Sequence[Row], joined: str) -> str:
    note = f"green: on the front of all trials; joined: {joined}; grey: the rest"
    return note + ("; bars: one standard deviation of the victims over seeds" if any(row["n"] and row["n"] > 1 for row in rows) else "")


def drawn(chart: Chart, sweep: SweepFolder, rows: Sequence[Row], across: Across) -> Chart:
    """The chart with a point per trial, and the lower left of them joined."""
    place = across.place
    joined = lower_left(rows, place=place)

    def draw(axes: list[Axes]) -> None:
        axes[0].plot([place(row) for row in joined], [100 * row["kept"] for row in joined], color=COLORS["part"], linewidth=1.2)
        for row in reversed(rows):
            draw_point(axes[0], sweep, row, place(row))
        axes[0].set(xlabel=across.label, ylabel="kept, %", ylim=(0, upper_limit(sweep, rows)))
        axes[0].margins(x=0.3)
        axes[0].xaxis.set_major_locator(across.locator)
        label_points(axes[0], sweep, rows, across)

    described = "; ".join(
        f"{format_point(row)}: {format_percent(row['kept'])} % {across.where.format(place(row))}"
        + ", on the front" * is_on_front(sweep, row)
        for row in rows
    )
    return chart.drawn(draw, label=f"{chart.caption}, {counted(len(rows), 'trial')}: {described}", size=across.size)


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


def label_points(axes: Axes, sweep: SweepFolder, rows: Sequence[Row], across: Across) -> None:
    """Write the setting of each trial beside its point: to the left where the right has no room, moved up where labels would overlap."""
    named = rows if len(rows) <= MOST_NAMED else sweep.on_front()
    (first, last), height = axes.get_xlim(), axes.get_ylim()[1]
    letter = LETTER / (axes.get_position().width * across.size[0])
    taken: list[tuple[float, float, float]] = []  # from, to (parts of the axis), height
    for row in sorted(named, key=lambda row: (row["kept"], row["name"])):
        text, at, y = short_label(sweep, row, besides=across.besides), (across.place(row) - first) / (last - first), 100 * row["kept"]
        left = at + letter * len(text) > 1
        begin, end = (at - letter * len(text), at) if left else (at, at + letter * len(text))
        for other_begin, other_end, other in sorted(taken, key=lambda label: label[2]):
            if begin < other_end and other_begin < end and abs(y - other) < APART * height:
                y = other + APART * height
        taken.append((begin, end, y))
        style = {"xytext": (-6, 0) if left else (6, 0), "ha": "right" if left else "left", "va": "center", "textcoords": "offset points"}
        strong = 1.0 if is_on_front(sweep, row) else 0.6
        axes.annotate(text, (across.place(row), y), **style, fontsize=8, parse_math=False, alpha=strong)  # type: ignore[arg-type]


def short_label(sweep: SweepFolder, row: Row, *, besides: str) -> str:
    """The values of the varying axes, without the one that is an axis of the chart."""
    parts = [f"{axis} {value}" for axis, value in parse_point(row).items() if axis in sweep.varied() and axis != besides]
    return ", ".join(parts) or format_point(row)
