"""Numbers, scores and Markdown tables as text, for results, pages and the command line."""

import math
from collections.abc import Sequence

from ray_ue.results.score import Score

WIDTH = 120  # characters of a table that fits a terminal
SHORTEST = 5  # characters that an entry keeps when its column shrinks


def format_percent(fraction: float | None) -> str:
    """With one decimal; a dash for an unknown value."""
    return format_number(None if fraction is None else 100 * fraction, ".1f")


def format_number(value: float | None, form: str) -> str:
    """`value` in the format `form`, never as -0; a dash for an unknown value, ∞ for an infinite one."""
    if value is None or math.isnan(value):
        return "–"
    text = format(value, form)
    return (text.lstrip("-") if not text.strip("-0.,") else text).replace("-", "−").replace("inf", "∞")


def format_score(score: Score) -> str:
    """`61.3 ± 0.8 (3)`, in percent."""
    return "–" if math.isnan(score.mean) else f"{_mean_and_spread(score)} ({score.n})"


def format_score_in_sentence(score: Score) -> str:
    """`61.3 ± 0.8 % (n=3)`."""
    return f"{_mean_and_spread(score)} % (n={score.n})"


def _mean_and_spread(score: Score) -> str:
    spread = "" if math.isnan(score.spread) else f" ± {format_percent(score.spread)}"
    return format_percent(score.mean) + spread


def escape_markdown(text: str) -> str:
    """One line that cannot end a table cell or open a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; the first row is its head."""
    return _join_rows([[escape_markdown(entry) for entry in row] for row in rows], widths=[1] * len(rows[0]))


def padded_markdown_table(rows: Sequence[Sequence[str]], *, shrinking: Sequence[int]) -> list[str]:
    """The lines of a table of at most WIDTH characters: the columns `shrinking` are cut, the widest first, until all fit."""
    widths = [max(len(escape_markdown(row[column])) for row in rows) for column in range(len(rows[0]))]
    while sum(widths) + 3 * len(widths) + 1 > WIDTH:
        widest = max(shrinking, key=lambda column: widths[column])
        if widths[widest] <= SHORTEST:
            break
        widths[widest] -= 1
    return _join_rows([[_shorten(entry, width).ljust(width) for entry, width in zip(row, widths)] for row in rows], widths=widths)


def _join_rows(rows: Sequence[Sequence[str]], *, widths: Sequence[int]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _shorten(text: str, width: int) -> str:
    """`text` in at most `width` characters: a cut ends in `…` and never splits an escape."""
    cut = text
    while len(escape_markdown(cut)) + (cut != text) > width:
        cut = cut[:-1]
    return escape_markdown(cut) + ("…" if cut != text else "")
