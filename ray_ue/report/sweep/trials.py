"""The trials of a sweep: the front as cards, finished ones as a table, others with their reasons; cost and request."""

import math

from ray_ue.report.evaluation import about
from ray_ue.report.html import cell, escape, facts, figure, heading, notice, render, row, table
from ray_ue.report.sweep.advice import EXPLANATION, count_trials, doubts, front_sentences
from ray_ue.report.sweep.folder import SweepFolder, place
from ray_ue.results.pareto import Row, accuracy, format_point, number_or_nan, rank_trials, unfinished_trials
from ray_ue.results.text import format_number, format_percent, format_score, format_score_in_sentence

MOST_CARDS = 6
PARTS = {"recipe": "Base recipe, before the axes", "grid": "Evaluation of every copy", "machine": "Machine", "versions": "Versions"}
APART = (*PARTS, "limits", "seconds", "spent")
NUMBERS = (  # head, field, form
    ("budget, of 255", "levels", ".0f"),
    ("largest change, of 255", "most", ".0f"),
    ("PSNR, dB", "psnr", ".2f"),
    ("SSIM", "ssim", ".4f"),
    ("image passes of crafting", "passes", ",.0f"),
    ("seconds", "seconds", ",.0f"),
)


def headline(sweep: SweepFolder) -> str:
    """The front as cards and in words, with doubts."""
    front = sweep.on_front()
    return render(
        "sweep_cards.html",
        sentences=[count_trials(sweep), *front_sentences(sweep)],
        doubts=list(doubts(sweep)),
        cards=[card_values(sweep, trial) for trial in front[:MOST_CARDS]],
        hidden=max(0, len(front) - MOST_CARDS),
    )


def card_values(sweep: SweepFolder, trial: Row) -> dict[str, object]:
    spread = format_spread(sweep.score(trial).spread)
    return {
        "trial": trial,
        "label": format_point(trial),
        "spread": f" {spread}" if spread else "",
        "accuracy": format_score_in_sentence(accuracy(trial)),
        "numbers": [(name, format_number(trial[field], form)) for name, field, form in NUMBERS[1:]],
    }


def finished_table(sweep: SweepFolder) -> str:
    """Every finished trial, the best first."""
    rows = [trial_row(sweep, trial) for trial in rank_trials(sweep.rows)]
    if not rows:
        return notice("No table:", "no trial finished.")
    heads = ["setting", "kept, %", "accuracy, %", "worst case", *(head for head, _, _ in NUMBERS), "images", "name"]
    body = figure("trials-table", table(heads, rows, label="Finished trials"), caption="Best first", note="green: on the front")
    return f'{body}<p class="missing">{escape(EXPLANATION)}</p>'


def trial_row(sweep: SweepFolder, trial: Row) -> str:
    on_front, spread = trial["name"] in sweep.best, format_spread(sweep.score(trial).spread)
    first, mark, rest = format_score(accuracy(trial)).partition(" ± ")
    cells = [
        heading(format_point(trial), small="on the front" if on_front else ""),
        cell(format_percent(trial["kept"]), small=spread, value=number_or_nan(trial["kept"]), column="kept"),
        cell(first, small=f"{mark}{rest}".strip(), value=number_or_nan(trial["accuracy"]), column="accuracy"),
        cell(", ".join(word for word in place(trial) if word) or "–", column="case"),
    ]
    for _, name, form in (*NUMBERS, ("", "images", ",.0f")):
        cells.append(cell(format_number(trial[name], form), value=number_or_nan(trial[name]), column=name))
    return row([*cells, cell(trial["name"], column="name")], kind="front" if on_front else "", data={"trial": trial["name"]})


def format_spread(spread: float) -> str:
    return "" if math.isnan(spread) else f"± {format_percent(spread)}"


def unfinished_table(sweep: SweepFolder) -> str:
    """Stopped and failed trials with their reasons."""
    rows = []
    for trial in unfinished_trials(sweep.rows):
        reason = cell(trial["reason"] or "no reason was given", kind="text")
        rows.append(row([heading(format_point(trial)), cell(trial["status"], kind="text"), reason], data={}))
    body = table(["setting", "what happened", "reason"], rows, label="Trials that did not finish", kind="text")
    return figure("unfinished-table", body, caption="They are not compared.") if rows else "<p>Every trial finished.</p>"


def cost(sweep: SweepFolder) -> str:
    """Sums over all trials, and the machines of the sweep."""
    sums = {name: sum(trial[name] or 0 for trial in sweep.rows) for name in ("passes", "images", "seconds")}
    pairs = [("image passes of crafting", f"{sums['passes']:,}"), ("images exported", f"{sums['images']:,}")]
    pairs += [("time of all trials", about.format_duration(sums["seconds"]))]
    pairs += [("wall time", about.format_duration(sweep.request.get("seconds")))]
    pairs += about.format_pairs(sweep.request.get("machine", {}))
    return facts(pairs) + notice("Note:", "trials that run concurrently or share stages take less wall time than their sum.")


def provenance(sweep: SweepFolder) -> str:
    """Request, base recipe, grid and versions."""
    request = {name: value for name, value in sweep.request.items() if name not in APART}
    parts = [about.collapsible(title, sweep.request[name]) for name, title in PARTS.items() if sweep.request.get(name)]
    return "".join([about.collapsible("Request", request, open=True), *parts])
