"""All trials of a sweep: the front as cards, finished ones as a table, others with their reasons, cost and request. It draws nothing."""

import math
from typing import Any

from ray_ue.report.evaluation import about
from ray_ue.report.html import cell, escape, facts, figure, fold, heading, missing, row, table
from ray_ue.report.sweep.advice import KEY, counted, doubts, told
from ray_ue.report.sweep.folder import SweepFolder, place
from ray_ue.results.pareto import Row, accuracy, format_point, number_or_nan, rank_trials, unfinished_trials
from ray_ue.results.text import format_number, format_percent, format_score, format_score_in_sentence

MOST_CARDS = 6
PARTS = ("recipe", "grid", "machine", "versions")  # of the request, each folded by itself
APART = (*PARTS, "limits", "seconds", "spent")
NUMBERS = (  # head, field, form
    ("budget, of 255", "levels", ".0f"),
    ("largest change, of 255", "most", ".0f"),
    ("PSNR, dB", "psnr", ".2f"),
    ("SSIM", "ssim", ".4f"),
    ("image passes of crafting", "passes", ",.0f"),
    ("seconds", "seconds", ",.0f"),
)


def headline(of: SweepFolder) -> str:
    """The front in words and as cards, and what must be said beside it."""
    first, *rest = told(of)
    sentences = "".join(f"<p>{escape(text)}</p>" for text in (counted(of), first))
    weak = "".join(f'<p class="doubt">{escape(text)}</p>' for text in doubts(of))
    shown = of.on_front()
    if not shown:
        return sentences + weak
    cards = "".join(card(of, at, one) for at, one in enumerate(shown[:MOST_CARDS]))
    more = missing("More:", f"{len(shown) - MOST_CARDS} others on the front are marked in the table.") if len(shown) > MOST_CARDS else ""
    words = fold("The same in words", "".join(f"<p>{escape(text)}</p>" for text in rest), open=False)
    return f'{sentences}{weak}<div class="cards">{cards}</div>{more}{words}'


def card(of: SweepFolder, at: int, one: Row) -> str:
    score = of.score(one)
    spread = "" if math.isnan(score.spread) else f" ± {format_percent(score.spread)}"
    big = (
        f'<p class="big"><data data-column="kept" data-value="{one["kept"]!r}">{format_percent(one["kept"])}</data><b>%</b>'
        f"<span>kept above chance{spread}<br>accuracy {escape(format_score_in_sentence(accuracy(one)))}</span></p>"
    )
    victim, relabel, defense = (escape(f"{word}") for word in place(one))
    case = f'<p class="place">{victim} · labels <b>{relabel}</b> · defense <b>{defense}</b></p>'
    stats = "".join(f"<div><dt>{escape(head)}</dt><dd>{format_number(one[name], form)}</dd></div>" for head, name, form in NUMBERS[1:])
    title = f"<header><h3>{escape(format_point(one))}</h3><p>budget {one['levels']}/255</p></header>"
    name = escape(one["name"])
    return f'<article class="card" id="card-{at}" data-trial="{name}">{title}{big}{case}<dl class="stats">{stats}</dl></article>'


def finished(of: SweepFolder) -> str:
    """Every finished trial, best first."""
    rows = [trial(of, one) for one in rank_trials(of.rows)]
    if not rows:
        return missing("No table:", "no trial finished.")
    heads = ["setting", "kept, %", "accuracy, %", "worst case", *(head for head, _, _ in NUMBERS), "images", "name"]
    return figure("trials-table", table(heads, rows, label="Finished trials"), caption="Best first", note="green: on the front") + (
        f'<p class="missing">{escape(KEY)}</p>'
    )


def trial(of: SweepFolder, one: Row) -> str:
    best, score = one["name"] in of.best, of.score(one)
    first, mark, rest = format_score(accuracy(one)).partition(" ± ")
    case = ", ".join(word for word in place(one) if word) or "–"
    cells = [
        heading(format_point(one), small="on the front" if best else ""),
        cell(format_percent(one["kept"]), small=spread_of(score.spread), value=number_or_nan(one["kept"]), column="kept"),
        cell(first, small=f"{mark}{rest}".strip(), value=number_or_nan(one["accuracy"]), column="accuracy"),
        cell(case, column="case"),
        *(
            cell(format_number(one[name], form), value=number_or_nan(one[name]), column=name)
            for _, name, form in (*NUMBERS, ("", "images", ",.0f"))
        ),
        cell(one["name"], column="name"),
    ]
    return row(cells, kind="front" if best else "", data={"trial": one["name"]})


def spread_of(spread: float) -> str:
    return "" if math.isnan(spread) else f"± {format_percent(spread)}"


def unfinished_ones(of: SweepFolder) -> str:
    """Stopped and failed trials with their reasons."""
    found = unfinished_trials(of.rows)
    if not found:
        return "<p>Every trial finished.</p>"
    rows = [
        row(
            [heading(format_point(one)), cell(one["status"], kind="text"), cell(one["reason"] or "no reason was given", kind="text")],
            data={},
        )
        for one in found
    ]
    body = table(["setting", "what happened", "reason"], rows, label="Trials that did not finish", kind="text")
    return figure("unfinished-table", body, caption="They are on no front.")


def cost(of: SweepFolder) -> str:
    """Sums over all trials, and what the sweep ran on."""
    sums = [
        (head, sum(one[name] or 0 for one in of.rows))
        for head, name in (("image passes of crafting", "passes"), ("images exported", "images"))
    ]
    told = [(head, f"{total:,}") for head, total in sums]
    told += [("time of all trials", about.clock(sum(one["seconds"] or 0.0 for one in of.rows)))]
    told += [("wall time", about.clock(of.request.get("seconds")))]
    told += [(name, about.plain(value)) for name, value in of.request.get("machine", {}).items()]
    return facts(told) + missing(
        "Mind:", "trials that run side by side, or share what was made before, take less wall time than their sum."
    )


def made(of: SweepFolder) -> str:
    """Request, base recipe, grid and versions."""
    asked = {name: value for name, value in of.request.items() if name not in APART}
    parts = [fold("What was asked", facts(about.said(asked)), open=True)]
    titles = {"recipe": "Base recipe, before the axes", "grid": "Evaluation of every copy", "machine": "Machine", "versions": "Versions"}
    for part in PARTS:
        values: dict[str, Any] = of.request.get(part, {})
        parts.append(fold(titles[part], facts(about.said(values)), open=False) if values else "")
    return "".join(parts)


def limits(of: SweepFolder) -> str:
    told = of.request.get("limits", [])
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in told)}</ul>" if told else missing("No limits:", "the sweep stated none.")
