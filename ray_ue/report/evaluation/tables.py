"""The numbers as tables: lines, heat maps, classes, failures."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest

from ray_ue.report.evaluation.folder import EvaluationFolder, defenses, relabels, victims
from ray_ue.report.evaluation.words import informative_columns, row_entries
from ray_ue.report.html import cell, details_html, figure, heading, notice, row, table
from ray_ue.results.evaluation import UNDEFENDED, ResultLine, Score
from ray_ue.results.text import format_percent

MOST_CLASSES = 200  # rows of a table of classes


def lines(evaluation: EvaluationFolder) -> str:
    """Two tables per copy: without and with clean rows mixed in."""
    blocks = []
    for number, copy in evaluation.each():
        lines_of_copy = [line for line in evaluation.lines if line.copy == copy]
        pure, mixed = ([line for line in lines_of_copy if bool(line.fraction) is wanted] for wanted in (False, True))
        worst = evaluation.headline(copy).lines[:1]
        blocks.append(figure(f"lines-{number}", line_table(pure, worst, label=f"All lines of {copy}"), caption=copy))
        if mixed:
            body = line_table(mixed, [], label=f"Mixtures of {copy}")
            blocks.append(figure(f"mixed-{number}", body, caption=f"{copy}, mixed with clean rows", note="not part of the worst case"))
    return "".join(blocks)


def line_table(result_lines: Sequence[ResultLine], worst: Sequence[ResultLine], *, label: str) -> str:
    names = informative_columns(result_lines)
    return table(names, [line_row(line, names, worst=line in worst) for line in result_lines], label=label, kind="lines")


def line_row(line: ResultLine, names: Sequence[str], *, worst: bool) -> str:
    entries = row_entries(line)
    cells = []
    for name in names:
        text, value = entries[name]
        first, mark, rest = text.partition(" ± " if "±" in text else " (")
        small = f"{mark}{rest}".strip()
        if name == "victim":
            cells.append(heading(first, small="worst case" if worst else "", narrow=f"{entries['relabel'][0]}, {entries['defense'][0]}"))
        else:
            cells.append(cell(first, small=small, value=value, column=name))
    kind = "worst" if worst else "floor" if line.is_sanity_check else ""
    return row(
        cells, kind=kind, data={"victim": line.victim, "relabel": line.relabel, "defense": line.defense, "fraction": repr(line.fraction)}
    )


def heat(evaluation: EvaluationFolder) -> str:
    """Defense x relabel for each copy and victim: `kept` as colour and number."""
    blocks = []
    for number, copy in evaluation.each():
        pure = evaluation.pure(copy)
        maps = []
        for place, victim in enumerate(victims(pure)):
            name = f"heat-{number}-{place}"
            maps.append(figure(name, heat_table(pure, copy, victim), caption=f"{copy}, victim {victim}"))
        blocks.append(f'<div class="flow">{"".join(maps)}</div>' if maps else notice(f"No heat map of {copy}:", "it has no lines."))
    key = '<p class="key">0 % kept <i class="ramp"></i> 100 % kept</p>'
    return key + "".join(blocks)


def heat_table(pure: list[ResultLine], copy: str, victim: str) -> str:
    line_at = {(line.defense, line.relabel): line for line in pure if line.victim == victim}
    across = relabels(line_at.values())
    rows = []
    for defense in defenses(line_at.values()):
        cells = [
            heat_cell(line_at[defense, relabel]) if (defense, relabel) in line_at else cell("not run", kind="none") for relabel in across
        ]
        rows.append(row([heading(defense), *cells], data={"defense": defense}))
    heads = ["defense", *(f"{name} (sanity floor)" if name.startswith("random") else name for name in across)]
    return table(heads, rows, label=f"Share kept: {copy}, victim {victim}", kind="heat")


def heat_cell(line: ResultLine) -> str:
    if not line.protected.n:
        return cell("failed", kind="none")
    small = f"{format_percent(line.protected.mean)} / {format_percent(line.clean.mean)}"
    if line.is_sanity_check or math.isnan(line.kept):
        return cell("–", small=small, kind="none", value=line.protected.mean, column="accuracy")
    style = f"--v:{min(100.0, 100 * line.kept):.1f}%"
    return cell(format_percent(line.kept), small=small, value=line.kept, column="kept", kind="hot", style=style)


def classes(evaluation: EvaluationFolder) -> str:
    """Accuracy per class for every victim and relabel, collapsed."""
    scores = class_scores(evaluation)
    blocks = []
    for number, copy in evaluation.each():
        pure = [line for line in evaluation.pure(copy) if any(key[0] == copy and key[2:4] == (line.victim, line.relabel) for key in scores)]
        for place, (victim, relabel) in enumerate(sorted({(line.victim, line.relabel) for line in pure})):
            defense_names = defenses([line for line in pure if (line.victim, line.relabel) == (victim, relabel)])
            body = figure(
                f"classes-{number}-{place}",
                class_table(evaluation, scores, (copy, victim, relabel), defense_names),
                caption="After the comma: the defense",
            )
            blocks.append(details_html(f"{copy}: victim {victim}, relabel {relabel}", body, open=False))
    return "".join(blocks) or notice("No per-class accuracy:", "no victim recorded any.")


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
) -> str:
    copy, victim, relabel = place
    heads = [("clean", UNDEFENDED), ("noise", UNDEFENDED), *(("protected", defense) for defense in defense_names)]
    columns = [scores.get((copy, data, victim, relabel, defense), []) for data, defense in heads]
    names = evaluation.relabel(relabel).get("names", [])
    count = max(map(len, columns))
    rows = []
    for number in range(min(count, MOST_CLASSES)):
        class_values = [column[number] if number < len(column) else Score.of(()) for column in columns]
        name = str(names[number]) if number < len(names) else f"class {number}"
        rows.append(row([heading(name), *(cell(format_percent(s.mean), value=s.mean) for s in class_values)], data={"class": str(number)}))
    more = (
        f'<p class="missing">{MOST_CLASSES} of {count} classes are shown; all are in results.parquet.</p>' if count > MOST_CLASSES else ""
    )
    label = f"Accuracy per class in percent: {copy}, victim {victim}, relabel {relabel}"
    return table(["class", *(f"{data}, {defense}" for data, defense in heads)], rows, label=label, kind="classes") + more


def failures(evaluation: EvaluationFolder) -> str:
    """Every failed victim with its reason; a control that several copies share is listed once."""
    fields = ["data", "fraction", "victim", "relabel", "defense", "reason", "copy", "seed", "status"]
    failed: dict[tuple, tuple[set, set]] = defaultdict(lambda: (set(), set()))
    for row_values in evaluation.table.select(fields).to_pylist():
        if row_values["status"] != "done":
            names, seeds = failed[tuple(row_values[name] for name in fields[:6])]
            names.add(row_values["copy"])
            seeds.add(row_values["seed"])
    if not failed:
        return "<p>Every victim finished.</p>"
    rows = []
    for key, (names, seeds) in sorted(failed.items()):
        data, fraction, victim, relabel, defense, reason = key
        texts = [
            data,
            format_percent(fraction),
            victim,
            relabel,
            defense,
            ", ".join(sorted(names)),
            ", ".join(map(str, sorted(seeds))),
            reason,
        ]
        rows.append(row([cell(text, kind="text") for text in texts], data={}))
    heads = ["data", "clean rows, %", "victim", "relabel", "defense", "copies", "seeds", "reason"]
    return figure("failed", table(heads, rows, label="Failed victims", kind="text"), caption="They enter no mean.")
