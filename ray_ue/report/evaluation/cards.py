"""The headline: one card per copy, with the worst case in numbers and in words. It knows results, no files."""

import math

from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.words import doubts, verdict, warnings
from ray_ue.report.html import escape, fold
from ray_ue.results.evaluation import UNDEFENDED, Headline
from ray_ue.results.text import format_percent


def cards(of: EvaluationFolder) -> str:
    alarms = "".join(f'<p class="alarm" role="note"><strong>Warning.</strong> {escape(text)}</p>' for text in warnings(of.lines))
    return f'{alarms}<div class="cards">{"".join(card(of, number, name) for number, name in of.each())}</div>'


def card(of: EvaluationFolder, number: int, copy: str) -> str:
    head = of.headline(copy)
    levels = of.about(copy).get("levels")
    budget = "budget unknown" if levels is None else f"budget {levels}/255"
    title = f"<header><h3>{escape(copy)}</h3><p>{escape(budget)}</p></header>"
    numbers = figures(head, number) if head.lines else ""
    said = "".join(f"<p>{escape(text)}</p>" for text in verdict(head))
    weak = "".join(f'<p class="doubt">{escape(text)}</p>' for text in doubts(head))
    body = numbers + weak + fold("The same in words", said, open=True) if head.lines else said + weak
    return f'<article class="card" id="card-{number}" data-copy="{escape(copy)}">{title}{body}</article>'


def figures(head: Headline, number: int) -> str:
    """The big number, where it lies between chance and the clean control, and what stands beside it."""
    worst = head.worst
    spread = "" if math.isnan(worst.protected.spread) else f"± {format_percent(worst.protected.spread)}, "
    seeds = f"{spread}{worst.protected.n} seed{'s' if worst.protected.n > 1 else ''}"
    big = (
        f'<p class="big"><data data-column="accuracy" data-value="{worst.protected.mean!r}">{format_percent(worst.protected.mean)}</data><b>%</b>'
        f"<span>worst-case accuracy<br>{seeds}</span></p>"
        f'<p class="place">{escape(worst.victim)} · labels <b>{escape(worst.relabel)}</b> · defense <b>{escape(worst.defense)}</b></p>'
    )
    marks = [("protected", "protected", worst.protected.mean), ("clean", "clean, best victim", worst.undefended.mean)]
    same = "" if worst.defense == UNDEFENDED else f", {worst.defense}"
    if same and worst.clean.n:
        marks.append(("clean-defended", f"clean{same}", worst.clean.mean))
    marks += [("noise", f"noise{same or ', no defense'}", worst.noise.mean), ("chance", "chance", worst.chance)]
    legend = "".join(stat(name, text, value, unit="%", swatch=True) for name, text, value in marks[1:])
    drops = stat("drop", "drop", head.drop, unit="points", swatch=False)
    drops += stat("noise-drop", "noise control’s drop", head.noise_drop, unit="points", swatch=False)
    drops += stat("noise-share", "noise’s share of the drop", head.noise_share, unit="%", swatch=False)
    drops += stat("kept", "kept above chance", worst.kept, unit="%", swatch=False)
    return f'{big}{strip(marks, number)}<dl class="stats">{legend}</dl><dl class="stats">{drops}</dl>'


def stat(name: str, text: str, value: float, *, unit: str, swatch: bool) -> str:
    raw = "" if math.isnan(value) else f' data-value="{value!r}"'
    dot = f'<i class="dot {escape(name)}"></i>' if swatch else ""
    suffix = "" if math.isnan(value) else f" <small>{unit}</small>"
    return f'<div><dt>{dot}{escape(text)}</dt><dd data-column="{escape(name)}"{raw}>{format_percent(value)}{suffix}</dd></div>'


def strip(marks: list[tuple[str, str, float]], number: int) -> str:
    """A scale from 0 to 100 % with a mark for each known value."""
    known = [(name, text, value) for name, text, value in marks if not math.isnan(value)]
    told = ", ".join(f"{text} {format_percent(value)} %" for _, text, value in known)
    drawn = "".join(f'<i class="mark {escape(name)}" style="left:{100 * value:.2f}%"></i>' for name, _, value in reversed(known))
    fill = f'<i class="fill" style="width:{100 * marks[0][2]:.2f}%"></i>'
    scale = "".join(f'<span style="left:{at}%">{at}</span>' for at in (0, 25, 50, 75, 100))
    label = escape(f"Accuracy in percent: {told}")
    return (
        f'<figure id="strip-{number}" class="strip" role="img" aria-label="{label}">{fill}{drawn}<div class="scale">{scale}</div></figure>'
    )
