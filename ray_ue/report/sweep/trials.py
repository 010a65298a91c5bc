"""The trials of a sweep: the front, finished ones, others with their reasons; cost and request."""

import math
from typing import Any

from ray_ue.report.evaluation.about import format_duration
from ray_ue.report.sweep.advice import EXPLANATION, count_trials, doubts, front_sentences
from ray_ue.report.sweep.folder import SweepFolder
from ray_ue.results.pareto import Row, accuracy, rank_trials
from ray_ue.results.text import format_percent

MOST_CARDS = 6
PARTS = {"recipe": "Base recipe, before the axes", "grid": "Evaluation of every copy", "machine": "Machine", "versions": "Versions"}
APART = (*PARTS, "limits", "seconds", "spent")


def headline(sweep: SweepFolder) -> dict[str, Any]:
    """The front as cards and in words, with doubts."""
    front = sweep.on_front()
    return {
        "sentences": [count_trials(sweep), *front_sentences(sweep)],
        "doubts": list(doubts(sweep)),
        "cards": [trial_values(sweep, trial) for trial in front[:MOST_CARDS]],
        "hidden": max(0, len(front) - MOST_CARDS),
    }


def trial_values(sweep: SweepFolder, trial: Row) -> dict[str, Any]:
    spread = sweep.score(trial).spread
    return {
        "trial": trial,
        "on_front": trial["name"] in sweep.best,
        "spread": "" if math.isnan(spread) else f"± {format_percent(spread)}",
        "accuracy": accuracy(trial),
    }


def finished(sweep: SweepFolder) -> dict[str, Any]:
    """Every finished trial, the best first."""
    return {"rows": [trial_values(sweep, trial) for trial in rank_trials(sweep.rows)], "explanation": EXPLANATION}


def cost(sweep: SweepFolder) -> dict[str, Any]:
    """Sums over all trials, and the machines of the sweep."""
    sums = {name: sum(trial[name] or 0 for trial in sweep.rows) for name in ("passes", "images", "seconds")}
    return {
        "image passes of crafting": f"{sums['passes']:,}",
        "images exported": f"{sums['images']:,}",
        "time of all trials": format_duration(sums["seconds"]),
        "wall time": format_duration(sweep.request.get("seconds")),
        **sweep.request.get("machine", {}),
    }


def provenance(sweep: SweepFolder) -> dict[str, Any]:
    """Request, base recipe, grid and versions, by title."""
    request = {name: value for name, value in sweep.request.items() if name not in APART}
    return {"Request": request, **{title: sweep.request[name] for name, title in PARTS.items() if sweep.request.get(name)}}
