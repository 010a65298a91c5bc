"""A sweep in words: the Pareto front, doubts about it, and the Markdown page."""

import math
from collections.abc import Iterator

from ray_ue.report.evaluation.words import NAMED, warnings
from ray_ue.report.sweep.folder import SweepFolder
from ray_ue.results import pareto
from ray_ue.results.pareto import Row, accuracy, format_point, number_or_nan
from ray_ue.results.score import CONFIDENCE, Score
from ray_ue.results.text import escape_markdown, format_number, format_percent, format_score_in_sentence

FRONT = "On the Pareto front: no other tried setting protects more at this visibility and cost."
EXPLANATION = (
    "kept: the accuracy above chance of a victim on the copy, as a fraction of that of the best victim on clean images, in the worst case "
    "over victims, labels and defenses; lower protects more. Accuracy: percent of clean test images, mean ± sample standard "
    "deviation over seeds (n); random pattern: the same for images that carry a random pattern per group of the copy's energy."
)


def count_trials(sweep: SweepFolder) -> str:
    """The numbers of tried, finished, stopped and failed settings."""
    done, stopped, failed = (sum(row["status"] == status for row in sweep.rows) for status in ("done", "stopped", "failed"))
    tried = f"{len(sweep.rows)} setting{'' if len(sweep.rows) == 1 else 's'} tried"
    return f"{tried}: {done} finished, {stopped} stopped early, {failed} failed."


def front_sentences(sweep: SweepFolder) -> list[str]:
    """The front in words, the best protection first."""
    if not any(row["status"] == "done" for row in sweep.rows):
        return ["No trial finished, so there is nothing to choose from; the reasons are below."]
    if not sweep.best:
        return ["No finished trial can be compared: its protection, budget or cost is unknown."]
    return [FRONT, *(describe_trial(row) for row in sweep.on_front())]


def describe_trial(row: Row) -> str:
    """The protection and the cost of a setting."""
    case = f"victim {row['victim']}, relabel {row['relabel']}, defense {row['defense']}"
    similarity = "" if math.isnan(number_or_nan(row["ssim"])) else f", SSIM {format_number(row['ssim'], '.2f')}"
    return (
        f"{format_point(row)}: {format_percent(row['kept'])} % kept "
        f"(accuracy {format_score_in_sentence(accuracy(row))} in the worst case: {case}); "
        f"budget {row['levels']} of 255{similarity}; {format_number(row['passes'], ',.0f')} image passes of crafting."
    )


def doubts(sweep: SweepFolder) -> Iterator[str]:
    """Reservations about the order of the trials."""
    if not sweep.best:
        return
    yield from similar_trial_doubts(sweep)
    if sweep.lines:
        yield coverage_doubt(sweep)
    else:
        yield "The evaluation of the copies was not found, so spreads, controls and charts of accuracy are missing."
    yield from warnings([line for line in sweep.lines if line.copy in sweep.best])


def similar_trial_doubts(sweep: SweepFolder) -> Iterator[str]:
    """Trials that do not differ from the best one by more than the spread over seeds."""
    (best, *others) = sweep.compared()
    best_score, scores = sweep.score(best), [(row, sweep.score(row)) for row in others]
    if not others:
        return
    if any(math.isnan(score.spread) for score in (best_score, *(score for _, score in scores))):
        yield unknown_spread_doubt([best_score, *(score for _, score in scores)])
    similar = [row for row, score in scores if not (math.isnan(best_score.spread + score.spread) or best_score.is_below(score))]
    if similar:
        more = f" and {len(similar) - NAMED} more" if len(similar) > NAMED else ""
        names = "; ".join(format_point(row) for row in similar[:NAMED])
        yield (
            f"Within the seeds' spread: {names}{more} cannot be distinguished from the best one ({format_point(best)}): "
            f"the {100 * CONFIDENCE:.0f} % interval of the difference over seeds includes 0."
        )


def unknown_spread_doubt(scores: list[Score]) -> str:
    alone = sum(score.n < 2 for score in scores)
    if alone == len(scores):
        return "The order is not significant: with one seed the spread is unknown. Run two or more seeds."
    return "The spread of some trials is unknown; their order is not significant."


def coverage_doubt(sweep: SweepFolder) -> str:
    """The number of victims, labels and defenses that the worst case is over."""
    lines_of_front = [line for row in sweep.compared() for line in sweep.pure(row)]
    counts = [len({getattr(line, name) for line in lines_of_front}) for name in ("victim", "relabel", "defense")]
    words = [f"{count} {what}{'' if count == 1 else 's'}" for count, what in zip(counts, ("victim", "labelling", "defense"), strict=True)]
    return (
        f"The worst case is the worst of {words[0]}, {words[1]} and {words[2]}, and no more: an exploiter with other "
        "networks, labels or defenses may reach more."
    )


def markdown(sweep: SweepFolder) -> str:
    """The front, all trials and the limits."""
    text = [
        f"# {escape_markdown(sweep.title)}",
        "",
        f"- {escape_markdown(count_trials(sweep))}",
        *(f"- {escape_markdown(line)}" for line in front_sentences(sweep)),
        "",
    ]
    text += [f"**Note.** {escape_markdown(line)}\n" for line in doubts(sweep)]
    text += ["## Trials", "", pareto.format_table(sweep.rows), "", f"`*`: on the front. {EXPLANATION}", ""]
    limits = [f"- {escape_markdown(line)}" for line in sweep.request.get("limits", [])]
    return "\n".join([*text, *(["## Limits", "", *limits, ""] if limits else [])])
