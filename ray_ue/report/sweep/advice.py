"""A sweep in words: what is on the front, what must be said beside it, and the Markdown page. It knows trials, no files."""

import math
from collections.abc import Iterator

from ray_ue.report.evaluation.words import NAMED, warnings
from ray_ue.report.sweep.folder import SweepFolder
from ray_ue.results import pareto
from ray_ue.results.evaluation import Score
from ray_ue.results.pareto import Row, accuracy, format_point, number_or_nan
from ray_ue.results.text import escape_markdown, format_number, format_percent, format_score_in_sentence

FRONT = "On the front: nothing else that was tried protects more at this visibility and cost."
KEY = (
    "kept: the worst case, over victims, labels and defenses, of the share of what clean images teach above chance that a victim still "
    "learns from the copy; lower protects more. Accuracy: percent of clean test images, mean ± sample standard deviation over seeds (n)."
)


def counted(of: SweepFolder) -> str:
    """How many settings were tried, and what became of them."""
    done, stopped, failed = (sum(row["status"] == status for row in of.rows) for status in ("done", "stopped", "failed"))
    tried = f"{len(of.rows)} setting{'' if len(of.rows) == 1 else 's'} tried"
    return f"{tried}: {done} finished, {stopped} stopped early, {failed} failed."


def told(of: SweepFolder) -> list[str]:
    """The front in words, best protection first."""
    if not any(row["status"] == "done" for row in of.rows):
        return ["No trial finished, so there is nothing to choose from; the reasons are below."]
    if not of.best:
        return ["No finished trial can be compared: what is kept, its budget or its cost is unknown."]
    return [FRONT, *(chosen(row) for row in of.on_front())]


def chosen(row: Row) -> str:
    """What one setting gives, and what it costs."""
    case = f"victim {row['victim']}, relabel {row['relabel']}, defense {row['defense']}"
    seen = "" if math.isnan(number_or_nan(row["ssim"])) else f", SSIM {format_number(row['ssim'], '.2f')}"
    return (
        f"{format_point(row)}: {format_percent(row['kept'])} % kept (accuracy {format_score_in_sentence(accuracy(row))} in the worst case: {case}); "
        f"budget {row['levels']} of 255{seen}; {format_number(row['passes'], ',.0f')} image passes of crafting."
    )


def doubts(of: SweepFolder) -> Iterator[str]:
    """What the order of the trials does not show."""
    if not of.best:
        return
    yield from alike(of)
    if of.lines:
        yield few(of)
    else:
        yield "The evaluation of the copies is not at hand, so spreads, controls and figures of accuracy are missing."
    yield from warnings([line for line in of.lines if line.copy in of.best])


def alike(of: SweepFolder) -> Iterator[str]:
    """Trials that the seeds cannot tell from the best one."""
    (best, *others) = of.compared()
    top, scores = of.score(best), [(row, of.score(row)) for row in others]
    if not others:
        return
    if any(math.isnan(score.spread) for score in (top, *(score for _, score in scores))):
        yield unknown([top, *(score for _, score in scores)])
    close = [row for row, score in scores if not (math.isnan(top.spread + score.spread) or top.is_below(score))]
    if close:
        more = f" and {len(close) - NAMED} more" if len(close) > NAMED else ""
        names = "; ".join(format_point(row) for row in close[:NAMED])
        yield (
            f"Within the seeds' spread: {names}{more} cannot be told from the best one ({format_point(best)}); "
            "the difference is at most twice the spread of the difference."
        )


def unknown(scores: list[Score]) -> str:
    alone = sum(score.n < 2 for score in scores)
    if alone == len(scores):
        return "No order was shown: with one seed the spread is unknown. Run two or more seeds."
    return "The spread of some trials is unknown; the order of those was not shown."


def few(of: SweepFolder) -> str:
    """How little a worst case is the worst of."""
    mine = [line for row in of.compared() for line in of.pure(row)]
    counts = [len({getattr(line, name) for line in mine}) for name in ("victim", "relabel", "defense")]
    words = [f"{count} {what}{'' if count == 1 else 's'}" for count, what in zip(counts, ("victim", "labelling", "defense"), strict=True)]
    return (
        f"The worst case is the worst of {words[0]}, {words[1]} and {words[2]}, and no more: it is no proof that an exploiter with other "
        "networks, labels or defenses gets no further."
    )


def markdown(of: SweepFolder) -> str:
    """The front first, then all trials and the limits."""
    text = [
        f"# {escape_markdown(of.title)}",
        "",
        f"- {escape_markdown(counted(of))}",
        *(f"- {escape_markdown(line)}" for line in told(of)),
        "",
    ]
    text += [f"**Mind.** {escape_markdown(line)}\n" for line in doubts(of)]
    text += ["## Trials", "", pareto.format_table(of.rows), "", f"`*`: on the front. {KEY}", ""]
    limits = [f"- {escape_markdown(line)}" for line in of.request.get("limits", [])]
    return "\n".join([*text, *(["## Limits", "", *limits, ""] if limits else [])])
