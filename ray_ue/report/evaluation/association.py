"""Mutual information in words: correlations, their limits, and the Markdown page."""

import json
import math
from collections.abc import Iterable, Sequence

import pyarrow as pa

from ray_ue.report.evaluation.words import Entry, percent_entry, score_entry
from ray_ue.results.information import LAYER, Association, InformationLine, associations, count_skipped, group_by_depth, lines
from ray_ue.results.score import Score
from ray_ue.results.text import escape_markdown, format_number, format_percent, markdown_table

LIMIT = (
    "A correlation over a few methods shows whether copies that lower this estimate also lower accuracy; it does not show that the one "
    "causes the other, nor what another exploiter would reach. MI-UE publishes no settings of its estimators: all settings are ours. "
    "Values of different estimators, settings, layers or victims cannot be compared. A clean image is paired with itself, under two "
    "independent directions."
)


def format_nats(value: float) -> str:
    """Four decimals, as in the MI-UE paper."""
    return format_number(value, ".4f")


def format_information(score: Score) -> str:
    """`0.7122 ± 0.0041 (3)`."""
    if not score.n:
        return "–"
    return f"{format_nats(score.mean)} ± {format_nats(score.spread)} ({score.n})" if score.n > 1 else f"{format_nats(score.mean)} (1)"


def describe_estimator(estimator: str, settings: str) -> str:
    """`histogram (bins 30, slices 500)`."""
    return f"{estimator} ({', '.join(f'{name} {value}' for name, value in json.loads(settings).items())})"


def describe_association(association: Association) -> str:
    """A sentence with the correlation and its n, or with the reason why there is none."""
    start = f"{describe_estimator(association.estimator, association.settings)}, {association.among}"
    if association.reason:
        return f"{start}: no correlation, because {association.reason}."
    mixed = "; victims with features of another kind are mixed here" if association.among.startswith("all") else ""
    return (
        f"{start}: accuracy gap against information gap has Spearman {association.spearman:.2f} and Pearson {association.pearson:.2f} "
        f"over {association.n} points{mixed}.".replace("-", "−")
    )


def row_entries(line: InformationLine) -> dict[str, Entry]:
    """A line as texts, in nats, percent and points, and raw numbers, by column."""
    return {
        "labels": (line.relabel, math.nan),
        "victim": (line.victim, math.nan),
        "trained on": (line.name, math.nan),
        "layer": (line.layer, math.nan),
        "information": (format_information(line.information), line.information.mean),
        "corrected": (format_information(line.corrected), line.corrected.mean),
        "± slices": (format_nats(line.stderr), line.stderr),
        "gap": (format_nats(line.gap), line.gap),
        "accuracy": score_entry(line.accuracy),
        "accuracy gap": percent_entry(line.accuracy_gap),
        "log det": (format_number(line.logdet.mean, ".1f"), line.logdet.mean),
        "intra": (format_number(line.intra.mean, ".3f"), line.intra.mean),
        "inter": (format_number(line.inter.mean, ".3f"), line.inter.mean),
    }


def informative_columns(lines: Iterable[InformationLine]) -> list[str]:
    """The columns with values, of at least one line."""
    rows = [row_entries(line) for line in lines]
    empty = {"corrected": "–", "± slices": "–", "layer": LAYER}
    return [name for name in rows[0] if name not in empty or any(row[name][0] != empty[name] for row in rows)]


def group_by_estimator(lines: Iterable[InformationLine]) -> dict[str, list[InformationLine]]:
    """The lines of each estimator with its settings; only these may be compared with each other."""
    groups: dict[str, list[InformationLine]] = {}
    for line in lines:
        groups.setdefault(describe_estimator(line.estimator, line.settings), []).append(line)
    return groups


def depth_rows(lines: Iterable[InformationLine]) -> list[list[str]]:
    """A table with its head: both gaps of each method from the shallowest victim on; empty for fewer than two victims."""
    rows = [
        [*key[2:], describe_estimator(*key[:2]), line.victim, format_percent(line.accuracy_gap), format_nats(line.gap)]
        for key, group in group_by_depth(lines).items()
        for line in group
    ]
    return [["trained on", "labels", "estimator", "victim", "accuracy gap", "information gap"], *rows] if rows else []


def explanation(rows: Sequence[int]) -> str:
    from ray_ue.information import ETA  # imports torch, which a page without measurements does not need

    pairs = f"{min(rows):,}" if min(rows) == max(rows) else f"{min(rows):,} to {max(rows):,}"
    return (
        f"I(g(X); g(X')) in nats between the features of clean images X and of the same images X' that the victim g was trained on, "
        f"{pairs} pairs: mean ± sample standard deviation over seeds (n). Gaps are the clean control minus the method, of "
        f"uncorrected information; accuracy is in percent. log det: mean over groups of 1/2 log det(covariance + {ETA:g} I) of the "
        "features of X'; intra and inter: mean cosine of two rows of one and of two groups; groups are the exploiter's labels."
    )


def markdown(table: pa.Table, *, title: str) -> str:
    """Correlations, all lines, gaps by depth, and skipped cells."""
    result_lines = lines(table)
    pairs = [count for count in table.column("rows").to_pylist() if count]
    text = [f"# Mutual information: {escape_markdown(title)}", "", *([explanation(pairs), ""] if pairs else [])]
    text += ["## Does accuracy fall where information falls?", ""]
    text += [f"- {escape_markdown(describe_association(association))}" for association in associations(result_lines)] or [
        "- Nothing: no method was measured together with its clean control."
    ]
    text += ["", LIMIT, ""]
    for name, group in group_by_estimator(result_lines).items():
        names = informative_columns(group)
        text += [
            f"## {escape_markdown(name)}",
            "",
            *markdown_table([names, *([row_entries(line)[column][0] for column in names] for line in group)]),
            "",
        ]
    if table_of := depth_rows(result_lines):
        text += ["## By depth", "", *markdown_table(table_of), ""]
    if reasons := count_skipped(table):
        text += ["## Skipped", "", *(f"- {escape_markdown(reason)} ({count}x)" for reason, count in reasons), ""]
    return "\n".join(text)
