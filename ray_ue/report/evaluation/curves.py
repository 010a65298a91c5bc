"""Charts of accuracy over the epochs, and over the fraction of clean rows."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ray_ue.config.grid import ORDER
from ray_ue.report.evaluation.folder import EvaluationFolder, defenses, relabels, victims
from ray_ue.report.svg import COLORS, INK, Chart
from ray_ue.results.evaluation import UNDEFENDED, ResultLine
from ray_ue.results.score import Score
from ray_ue.results.text import format_percent

MOST_PANELS = 120  # drawings on one page; beyond it only the undefended and the worst cases are drawn
SIZE = (3.3, 2.25)  # inches; about 10 px per label on a phone
STYLES = {"accuracy": "-", "perturbed": (0, (1.5, 1.2))}
DATA = tuple(data for data in ORDER if data != "clean-part")

# (copy, data, victim, relabel, defense, "accuracy" or "perturbed") -> epoch -> score over seeds
Curves = Mapping[tuple[str, ...], Mapping[int, Score]]


def read_curves(evaluation: EvaluationFolder) -> Curves:
    """All curves of finished victims without mixtures."""
    place = ["copy", "data", "victim", "relabel", "defense"]
    raw: dict[tuple, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in evaluation.table.select([*place, "fraction", "status", "curve_epoch", "curve_accuracy", "curve_perturbed"]).to_pylist():
        if row["status"] != "done" or row["fraction"]:
            continue
        for kind in STYLES:
            for epoch, value in zip(row["curve_epoch"] or [], row[f"curve_{kind}"] or [], strict=False):
                raw[(*(row[name] for name in place), kind)][epoch].append(value)
    return {key: {epoch: Score.of(values) for epoch, values in sorted(scores.items())} for key, scores in raw.items()}


def curves(evaluation: EvaluationFolder) -> dict[str, Any]:
    """A chart per line, grouped by copy, victim and relabel."""
    all_curves = read_curves(evaluation)
    worst = [line for copy in evaluation.names for line in evaluation.headline(copy).lines[:1]]
    pure_lines = [line for copy in evaluation.names for line in evaluation.pure(copy)]
    drawn = pure_lines if len(pure_lines) <= MOST_PANELS else [line for line in pure_lines if line.defense == UNDEFENDED or line in worst]
    copies: dict[str, dict[str, list[Chart]]] = {}
    for number, copy in evaluation.each() if all_curves else ():
        lines_of_copy = [line for line in drawn if line.copy == copy]
        copies[copy] = {}
        for place, (victim, relabel) in enumerate(product(victims(lines_of_copy), relabels(lines_of_copy))):
            chosen = {line.defense: line for line in lines_of_copy if (line.victim, line.relabel) == (victim, relabel)}
            copies[copy][f"victim {victim}, relabel {relabel}"] = [
                panel(f"curve-{number}-{place}-{at}", chosen[defense], all_curves) for at, defense in enumerate(defenses(chosen.values()))
            ]
    return {"copies": copies, "drawn": len(drawn), "count": len(pure_lines)}


def panel(name: str, line: ResultLine, all_curves: Curves) -> Chart:
    """One chart; without a drawing if no victim finished."""
    chart = Chart(name=name, caption=line.defense)
    place = (line.victim, line.relabel, line.defense)
    curves_of_line = {(data, kind): all_curves.get((line.copy, data, *place, kind), {}) for data in DATA for kind in STYLES}
    if not any(curves_of_line.values()):
        return chart

    def draw(axes: list[Axes]) -> None:
        for (data, kind), points in curves_of_line.items():
            draw_band(axes[0], points, color=COLORS[data], style=STYLES[kind], filled=kind == "accuracy")
        if not math.isnan(line.chance):
            axes[0].axhline(100 * line.chance, color=INK, alpha=0.45, linewidth=0.8)
        axes[0].set(ylim=(0, 100), xlabel="epoch", ylabel="accuracy, %")
        axes[0].margins(x=0.02)
        axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))

    ends = [
        f"{data} ends at {format_percent(final_accuracy(curves_of_line[data, 'accuracy']))} %"
        for data in DATA
        if curves_of_line[data, "accuracy"]
    ]
    label = f"Accuracy on clean test rows per epoch, {line.place}: {', '.join(ends)}"
    return chart.drawn(draw, label=label, size=SIZE)


def final_accuracy(points: Mapping[int, Score]) -> float:
    return points[max(points)].mean


def draw_band(axes: Axes, points: Mapping[int, Score], *, color: str, style: object, filled: bool) -> None:
    """Mean over seeds, with one standard deviation to each side if known."""
    if not points:
        return
    epochs = np.array(list(points), dtype=float)
    mean, spread = (100 * np.array([getattr(score, part) for score in points.values()]) for part in ("mean", "spread"))
    marker = "o" if len(points) == 1 else ""
    axes.plot(epochs, mean, color=color, linestyle=style, marker=marker, markersize=4)
    if filled and not np.isnan(spread).all():
        axes.fill_between(epochs, mean - np.nan_to_num(spread), mean + np.nan_to_num(spread), color=color, alpha=0.18, linewidth=0)


def mixtures(evaluation: EvaluationFolder) -> list[Chart]:
    """Accuracy over the fraction of clean rows: the mixture, and its clean rows alone."""
    charts = []
    for number, copy in evaluation.each():
        lines_of_copy = [line for line in evaluation.lines if line.copy == copy]
        places = sorted({(line.victim, line.relabel, line.defense) for line in lines_of_copy if line.fraction})
        for at, place in enumerate(places):
            lines_of_place = [line for line in lines_of_copy if (line.victim, line.relabel, line.defense) == place]
            charts.append(mixture(f"mixture-{number}-{at}", lines_of_place))
    return charts


def mixture(name: str, lines: list[ResultLine]) -> Chart:
    lines = sorted(lines, key=lambda line: line.fraction)
    first = lines[0]

    def draw(axes: list[Axes]) -> None:
        draw_bars(axes[0], [(line.fraction, line.protected) for line in lines], color=COLORS["protected"])
        draw_bars(axes[0], [(line.fraction, line.part) for line in lines], color=COLORS["part"])
        if first.clean.n:
            axes[0].axhline(100 * first.clean.mean, color=COLORS["clean"])
        axes[0].set(ylim=(0, 100), xlabel="clean rows, %", ylabel="accuracy, %")

    values = "; ".join(
        f"{format_percent(line.fraction)} % clean rows: {format_percent(line.protected.mean)} %, "
        f"clean rows alone {format_percent(line.part.mean)} %"
        for line in lines
    )
    chart = Chart(name=name, caption=f"{first.copy}: {first.victim}, {first.relabel}, {first.defense}")
    return chart.drawn(draw, label=f"Accuracy over the share of clean rows, {first.place}: {values}", size=SIZE)


def draw_bars(axes: Axes, points: Iterable[tuple[float, Score]], *, color: str) -> None:
    known = [(100 * at, 100 * score.mean, 0.0 if math.isnan(score.spread) else 100 * score.spread) for at, score in points if score.n]
    if known:
        x, y, error = zip(*known, strict=True)
        axes.errorbar(x, y, yerr=error, color=color, marker="o", markersize=4, capsize=2, linewidth=1.6)
