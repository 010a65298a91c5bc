"""The numbers of the tables: lines, heat maps, classes, failures."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from ray_ue.report.evaluation.folder import EvaluationFolder, defenses, relabels, victims
from ray_ue.report.evaluation.words import informative_columns, row_entries
from ray_ue.results.evaluation import UNDEFENDED, ResultLine
from ray_ue.results.score import Score

MOST_CLASSES = 200  # rows of a table of classes


def lines(evaluation: EvaluationFolder) -> list[dict[str, Any]]:
    """Two tables per copy: without and with clean rows mixed in."""
    tables = []
    for copy in evaluation.names:
        mixed = [line for line in evaluation.lines if line.copy == copy and line.fraction]
        worst = evaluation.headline(copy).lines[:1]
        tables.append({"name": copy, "pure": line_table(evaluation.pure(copy), worst), "mixed": line_table(mixed, []) if mixed else None})
    return tables


def line_table(result_lines: Sequence[ResultLine], worst: Sequence[ResultLine]) -> dict[str, Any]:
    rows = [{"line": line, "entries": row_entries(line), "worst": line in worst} for line in result_lines]
    return {"columns": informative_columns(result_lines), "rows": rows}


def heat(evaluation: EvaluationFolder) -> dict[str, list[dict[str, Any]]]:
    """A table of defense x relabel for each victim, by copy."""
    return {copy: [heat_table(evaluation.pure(copy), victim) for victim in victims(evaluation.pure(copy))] for copy in evaluation.names}


def heat_table(pure: list[ResultLine], victim: str) -> dict[str, Any]:
    """The lines of a victim by defense, in the order of `relabels`; None where nothing was run."""
    line_at = {(line.defense, line.relabel): line for line in pure if line.victim == victim}
    across = relabels(line_at.values())
    rows = {defense: [line_at.get((defense, relabel)) for relabel in across] for defense in defenses(line_at.values())}
    heads = ["defense", *(f"{name} (sanity floor)" if name.startswith("random") else name for name in across)]
    return {"victim": victim, "heads": heads, "rows": rows}


def classes(evaluation: EvaluationFolder) -> list[dict[str, Any]]:
    """Accuracy per class for every copy, victim and relabel."""
    scores, tables = class_scores(evaluation), []
    for number, copy in evaluation.each():
        pure = [line for line in evaluation.pure(copy) if any(key[0] == copy and key[2:4] == (line.victim, line.relabel) for key in scores)]
        for at, place in enumerate(sorted({(line.victim, line.relabel) for line in pure})):
            defense_names = defenses([line for line in pure if (line.victim, line.relabel) == place])
            table = class_table(evaluation, scores, (copy, *place), defense_names)
            tables.append({"id": f"classes-{number}-{at}", "name": copy, "place": f"victim {place[0]}, relabel {place[1]}", **table})
    return tables


def class_scores(evaluation: EvaluationFolder) -> dict[tuple, list[Score]]:
    """(copy, data, victim, relabel, defense) -> a score per class, over seeds."""
    accuracies: dict[tuple, list[list[float]]] = defaultdict(list)
    fields = ["copy", "data", "victim", "relabel", "defense", "fraction", "status", "class_accuracy"]
    for row_values in evaluation.table.select(fields).to_pylist():
        if row_values["status"] == "done" and row_values["fraction"] == 0 and row_values["class_accuracy"]:
            accuracies[tuple(row_values[name] for name in fields[:5])].append(row_values["class_accuracy"])
    return {key: [Score.of(values) for values in zip_longest(*per_seed)] for key, per_seed in accuracies.items()}


def class_table(
    evaluation: EvaluationFolder, scores: dict[tuple, list[Score]], place: tuple[str, str, str], defense_names: list[str]
) -> dict[str, Any]:
    """The heads, and the scores of each class by its name."""
    copy, victim, relabel = place
    heads = [*((data, UNDEFENDED) for data in ("clean", "noise", "pattern")), *(("protected", defense) for defense in defense_names)]
    heads = [head for head in heads if head[0] != "pattern" or (copy, head[0], victim, relabel, head[1]) in scores]  # not every copy has it
    columns = [scores.get((copy, data, victim, relabel, defense), []) for data, defense in heads]
    names = evaluation.relabel(relabel).get("names", [])
    rows = [
        (str(names[number]) if number < len(names) else f"class {number}", scores_of_class)
        for number, scores_of_class in enumerate(zip_longest(*columns, fillvalue=Score.of(())))
    ]
    return {"heads": [f"{data}, {defense}" for data, defense in heads], "rows": rows[:MOST_CLASSES], "count": len(rows)}


def failures(evaluation: EvaluationFolder) -> list[dict[str, Any]]:
    """Every failed victim with its reason; a control that several copies share is listed once."""
    fields = ["data", "fraction", "victim", "relabel", "defense", "reason"]
    failed: dict[tuple, tuple[set, set]] = defaultdict(lambda: (set(), set()))
    for row in evaluation.table.select([*fields, "copy", "seed", "status"]).to_pylist():
        if row["status"] != "done":
            copies, seeds = failed[tuple(row[name] for name in fields)]
            copies.add(row["copy"])
            seeds.add(row["seed"])
    return [dict(zip(fields, key), copies=sorted(copies), seeds=sorted(seeds)) for key, (copies, seeds) in sorted(failed.items())]
