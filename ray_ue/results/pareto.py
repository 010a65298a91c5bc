"""The Pareto front of a sweep's trials, and their table. A row is a mapping with the fields of `TRIALS`."""

import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ray_ue.results.score import Score
from ray_ue.results.text import WIDTH, escape_markdown, format_number, format_percent, format_score, padded_markdown_table

Row = Mapping[str, Any]


def number_or_nan(value: float | None) -> float:
    """`value` as a float; nan for None."""
    return math.nan if value is None else float(value)


def parse_point(row: Row) -> dict[str, Any]:
    """The value of each axis."""
    return json.loads(row["point"] or "{}")


def format_point(row: Row) -> str:
    """`clusters 5, budget 8`."""
    return ", ".join(f"{axis} {value}" for axis, value in parse_point(row).items()) or row["name"]


def objectives(row: Row) -> tuple[float, ...]:
    """The compared values; lower is better. SSIM counts with two decimals, as smaller differences are invisible; unknown SSIM is the
    worst."""
    ssim = number_or_nan(row["ssim"])
    return (
        number_or_nan(row["kept"]),
        number_or_nan(row["levels"]),
        number_or_nan(row["passes"]),
        math.inf if math.isnan(ssim) else -round(ssim, 2),
    )


def is_comparable(row: Row) -> bool:
    return row["status"] == "done" and not any(map(math.isnan, objectives(row)))


def dominates(values: tuple[float, ...], others: tuple[float, ...]) -> bool:
    """At least as good in every value and better in one."""
    return values != others and all(value <= other for value, other in zip(values, others, strict=True))


def pareto_front(rows: Iterable[Row]) -> tuple[str, ...]:
    """Names of the finished trials that no other dominates in protection, budget, crafting cost and visibility, sorted by `kept`."""
    candidates = [(objectives(row), row["name"]) for row in rows if is_comparable(row)]
    return tuple(name for values, name in sorted(candidates) if not any(dominates(others, values) for others, _ in candidates))


def rank_trials(rows: Iterable[Row]) -> list[Row]:
    """Finished trials, the best protection first; those that cannot be compared last."""
    return sorted((row for row in rows if row["status"] == "done"), key=lambda row: (not is_comparable(row), *_sort_key(row)))


def _sort_key(row: Row) -> tuple[float | str, ...]:
    return *(math.inf if math.isnan(value) else value for value in objectives(row)), row["name"]


def unfinished_trials(rows: Iterable[Row]) -> list[Row]:
    """Stopped trials, then failed ones, by name."""
    return sorted((row for row in rows if row["status"] != "done"), key=lambda row: (row["status"] != "stopped", row["name"]))


def format_table(rows: Iterable[Row]) -> str:
    """A Markdown table of at most WIDTH columns: finished trials, the best first, `*` for the front; then the others with their reasons."""
    trials = list(rows)
    on_front = pareto_front(trials)
    axes = list(dict.fromkeys(axis for row in trials for axis in parse_point(row)))
    head = ["", *axes, "kept, %", "accuracy, %", "pattern, %", "worst case", "levels", "SSIM", "LPIPS", "passes", "minutes"]
    if not any(row["lpips"] is not None for row in trials):
        head.remove("LPIPS")
    entries = [[_cells(row, axes, mark="*" if row["name"] in on_front else "")[name] for name in head] for row in rank_trials(trials)]
    shrinking = [*range(1, len(axes) + 1), head.index("worst case")]
    text = padded_markdown_table([head, *entries], shrinking=shrinking) if entries else ["No trial finished."]
    for row in unfinished_trials(trials):
        sentence = f"- {row['status']}: {escape_markdown(format_point(row))}: {escape_markdown(row['reason'] or 'no reason was given')}"
        text += ["", *textwrap.wrap(sentence, WIDTH, subsequent_indent="  ", break_on_hyphens=False)]
    return "\n".join(text)


def _cells(row: Row, axes: Sequence[str], *, mark: str) -> dict[str, str]:
    """The text of each column, by its head."""
    values, worst_case = parse_point(row), [row[name] for name in ("victim", "relabel", "defense") if row[name]]
    return {axis: str(values.get(axis, "")) for axis in axes} | {
        "": mark,
        "kept, %": format_percent(row["kept"]),
        "accuracy, %": format_score(accuracy(row)),
        "pattern, %": format_percent(row["pattern"]),
        "worst case": ", ".join(worst_case) or "–",
        "levels": format_number(row["levels"], ".0f"),
        "SSIM": format_number(row["ssim"], ".2f"),
        "LPIPS": format_number(row["lpips"], ".3f"),
        "passes": format_number(row["passes"], ",.0f"),
        "minutes": format_number(None if row["seconds"] is None else row["seconds"] / 60, ",.1f"),
    }


def accuracy(row: Row) -> Score:
    """The accuracy of the worst case."""
    return Score(mean=number_or_nan(row["accuracy"]), spread=number_or_nan(row["spread"]), n=row["n"] or 0)
