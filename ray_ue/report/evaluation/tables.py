"""All numbers as tables: lines, heat maps, classes, failures. It knows results, not pictures."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest

from ray_ue.report.evaluation.folder import EvaluationFolder, defenses, relabels, victims
from ray_ue.report.evaluation.words import columns, entries
from ray_ue.report.html import cell, figure, fold, heading, missing, row, table
from ray_ue.results.evaluation import UNDEFENDED, ResultLine, Score
from ray_ue.results.text import format_percent

MOST_CLASSES = 200  # rows of a table of classes; a page is no database


def numbers(line: ResultLine) -> dict[str, float]:
    """The raw value of each column that has one."""
    scores = {
        "protected": line.protected,
        "clean": line.clean,
        "noise": line.noise,
        "clean part": line.part,
        "perturbed test": line.perturbed,
    }
    drops = {"drop": line.drop, "noise drop": line.noise_drop, "kept": math.nan if line.is_sanity_check else line.kept}
    rest = {
        "clean rows": line.fraction,
        "chance": line.chance,
        "AMI": line.ami,
        "purity": line.purity,
        "failed": float(sum(count for _, count in line.failed)),
    }
    return {**{name: score.mean for name, score in scores.items()}, **drops, **rest}


def lines(of: EvaluationFolder) -> str:
    """Two tables per copy: what is purely protected, and mixtures."""
    blocks = []
    for number, copy in of.each():
        mine = [line for line in of.lines if line.copy == copy]
        pure, mixed = ([line for line in mine if bool(line.fraction) is wanted] for wanted in (False, True))
        top = of.headline(copy).lines[:1]
        blocks.append(figure(f"lines-{number}", line_table(pure, top, label=f"All lines of {copy}"), caption=copy))
        if mixed:
            body = line_table(mixed, [], label=f"Mixtures of {copy}")
            blocks.append(figure(f"mixed-{number}", body, caption=f"{copy}, mixed with clean rows", note="no part of the worst case"))
    return "".join(blocks)


def line_table(found: Sequence[ResultLine], top: Sequence[ResultLine], *, label: str) -> str:
    shown = columns(found)
    return table(shown, [line_row(line, shown, worst=line in top) for line in found], label=label, kind="lines")


def line_row(line: ResultLine, shown: Sequence[str], *, worst: bool) -> str:
    values, texts = numbers(line), entries(line)
    cells = []
    for name in shown:
        first, mark, rest = texts[name].partition(" ± " if "±" in texts[name] else " (")
        small = f"{mark}{rest}".strip()
        if name == "victim":
            cells.append(heading(first, small="worst case" if worst else "", narrow=f"{texts['relabel']}, {texts['defense']}"))
        else:
            cells.append(cell(first, small=small, value=values.get(name, math.nan), column=name))
    kind = "worst" if worst else "floor" if line.is_sanity_check else ""
    return row(
        cells, kind=kind, data={"victim": line.victim, "relabel": line.relabel, "defense": line.defense, "fraction": repr(line.fraction)}
    )


def heat(of: EvaluationFolder) -> str:
    """Defense x relabel for each copy and victim: the share that is kept as colour and number."""
    blocks = []
    for number, copy in of.each():
        pure = of.pure(copy)
        maps = []
        for place, victim in enumerate(victims(pure)):
            name = f"heat-{number}-{place}"
            maps.append(figure(name, heat_table(pure, copy, victim), caption=f"{copy}, victim {victim}"))
        blocks.append(f'<div class="flow">{"".join(maps)}</div>' if maps else missing(f"No heat map of {copy}:", "it has no lines."))
    key = '<p class="key">0 % kept <i class="ramp"></i> 100 % kept</p>'
    return key + "".join(blocks)


def heat_table(pure: list[ResultLine], copy: str, victim: str) -> str:
    at = {(line.defense, line.relabel): line for line in pure if line.victim == victim}
    across = relabels(at.values())
    rows = []
    for defense in defenses(at.values()):
        cells = [heat_cell(at[defense, relabel]) if (defense, relabel) in at else cell("not run", kind="none") for relabel in across]
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


def classes(of: EvaluationFolder) -> str:
    """Per-class accuracy of every victim and relabel, folded."""
    scores = class_scores(of)
    blocks = []
    for number, copy in of.each():
        pure = [line for line in of.pure(copy) if any(key[0] == copy and key[2:4] == (line.victim, line.relabel) for key in scores)]
        for place, (victim, relabel) in enumerate(sorted({(line.victim, line.relabel) for line in pure})):
            asked = defenses([line for line in pure if (line.victim, line.relabel) == (victim, relabel)])
            body = figure(
                f"classes-{number}-{place}", class_table(of, scores, (copy, victim, relabel), asked), caption="After the comma: the defense"
            )
            blocks.append(fold(f"{copy}: victim {victim}, relabel {relabel}", body, open=False))
    return "".join(blocks) or missing("No per-class accuracy:", "no victim recorded any.")


def class_scores(of: EvaluationFolder) -> dict[tuple, list[Score]]:
    """(copy, data, victim, relabel, defense) -> a score per class, over seeds."""
    kept: dict[tuple, list[list[float]]] = defaultdict(list)
    fields = ["copy", "data", "victim", "relabel", "defense", "fraction", "status", "class_accuracy"]
    for found in of.table.select(fields).to_pylist():
        if found["status"] == "done" and found["fraction"] == 0 and found["class_accuracy"]:
            kept[tuple(found[name] for name in fields[:5])].append(found["class_accuracy"])
    return {key: [Score.of(values) for values in zip_longest(*every)] for key, every in kept.items()}


def class_table(of: EvaluationFolder, scores: dict[tuple, list[Score]], place: tuple[str, str, str], asked: list[str]) -> str:
    copy, victim, relabel = place
    heads = [("clean", UNDEFENDED), ("noise", UNDEFENDED), *(("protected", defense) for defense in asked)]
    found = [scores.get((copy, data, victim, relabel, defense), []) for data, defense in heads]
    names = of.relabel(relabel).get("names", [])
    count = max(map(len, found))
    rows = []
    for number in range(min(count, MOST_CLASSES)):
        mine = [column[number] if number < len(column) else Score.of(()) for column in found]
        name = str(names[number]) if number < len(names) else f"class {number}"
        rows.append(row([heading(name), *(cell(format_percent(s.mean), value=s.mean) for s in mine)], data={"class": str(number)}))
    more = (
        f'<p class="missing">{MOST_CLASSES} of {count} classes are shown; all are in results.parquet.</p>' if count > MOST_CLASSES else ""
    )
    label = f"Accuracy per class in percent: {copy}, victim {victim}, relabel {relabel}"
    return table(["class", *(f"{data}, {defense}" for data, defense in heads)], rows, label=label, kind="classes") + more


def failures(of: EvaluationFolder) -> str:
    """Every failed victim with its reason; a control that stands beside several copies is listed once."""
    fields = ["data", "fraction", "victim", "relabel", "defense", "reason", "copy", "seed", "status"]
    found: dict[tuple, tuple[set, set]] = defaultdict(lambda: (set(), set()))
    for one in of.table.select(fields).to_pylist():
        if one["status"] != "done":
            names, seeds = found[tuple(one[name] for name in fields[:6])]
            names.add(one["copy"])
            seeds.add(one["seed"])
    if not found:
        return "<p>Every victim finished.</p>"
    rows = []
    for key, (names, seeds) in sorted(found.items()):
        data, fraction, victim, relabel, defense, reason = key
        said = [
            data,
            format_percent(fraction),
            victim,
            relabel,
            defense,
            ", ".join(sorted(names)),
            ", ".join(map(str, sorted(seeds))),
            reason,
        ]
        rows.append(row([cell(text, kind="text") for text in said], data={}))
    heads = ["data", "clean rows, %", "victim", "relabel", "defense", "copies", "seeds", "reason"]
    return figure("failed", table(heads, rows, label="Failed victims", kind="text"), caption="They enter no mean.")
