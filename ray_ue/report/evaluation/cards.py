"""The headline: a card for each copy, with the worst case in numbers and in words."""

from typing import Any

from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.words import copy_warnings, crafting_spread, doubts, two_headlines, verdict, warnings
from ray_ue.results.evaluation import UNDEFENDED, Headline

Mark = tuple[str, str, float]  # name, text, accuracy


def cards(evaluation: EvaluationFolder) -> dict[str, Any]:
    said = [*warnings(evaluation.lines), *copy_warnings(evaluation.run)]
    return {"warnings": said, "cards": [card_values(evaluation, copy) for copy in evaluation.names]}


def card_values(evaluation: EvaluationFolder, copy: str) -> dict[str, Any]:
    headline, levels = evaluation.headline(copy), evaluation.about(copy).get("levels")
    return {
        "headline": headline,
        "budget": "budget unknown" if levels is None else f"budget {levels}/255",
        "leads": [*two_headlines(evaluation.lines, copy), *crafting_spread(evaluation.lines, evaluation.run, copy)],
        "verdict": verdict(headline),
        "doubts": list(doubts(headline)),
        "marks": marks(headline) if headline.lines else [],
    }


def marks(headline: Headline) -> list[Mark]:
    """The worst case, its controls and chance, as marks on a scale."""
    worst = headline.worst
    undefended = worst.defense == UNDEFENDED
    defense = "no defense" if undefended else worst.defense
    defended = [] if undefended or not worst.clean.n else [("clean-defended", f"clean, {worst.defense}", worst.clean.mean)]
    return [
        ("protected", "protected", worst.protected.mean),
        ("clean", "clean, best victim", worst.undefended.mean),
        *defended,
        ("noise", f"noise, {defense}", worst.noise.mean),
        *([("pattern", f"random patterns, {defense}", worst.pattern.mean)] if worst.pattern.n else []),
        ("chance", "chance", worst.chance),
    ]
