"""An evaluation in words: the headline, doubts, warnings, and the Markdown page."""

import math
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from ray_ue.config.grid import EVERYDAY, split_list
from ray_ue.parameters import list_some
from ray_ue.results.evaluation import UNDEFENDED, Headline, ResultLine, copy_names, headline, summary
from ray_ue.results.score import CONFIDENCE, Score
from ray_ue.results.text import escape_markdown, format_number, format_percent, format_score, format_score_in_sentence, markdown_table

NAMED = 3  # entries that a sentence names before it counts the others
SUSPECT = 0.05  # UC and MI-UE report that noise at their budgets costs a victim only a few points


def two_headlines(lines: Iterable[ResultLine], copy: str) -> list[str]:
    """Who learns how much from a copy: an everyday exploiter, who does nothing against the protection, and a determined one."""
    lines, usual = list(lines), split_list(EVERYDAY)
    everyday, whole = headline(lines, copy, defenses=usual), headline(lines, copy)
    if not whole.lines:
        return []
    told = []
    if everyday.lines:
        tried = len({line.defense for line in everyday.lines})
        told.append(
            f"Everyday: who trains on this copy as usual learns at most {_kept(everyday.worst)} of what clean images teach "
            f"({everyday.worst.place}; {tried} of {len(usual)} everyday treatments of images were tried)."
        )
    if others := {line.defense for line in whole.lines} - set(usual):
        told.append(
            f"Determined: who also tries {list_some(sorted(others))} learns at most {_kept(whole.worst)} ({whole.worst.place}). "
            "Diffusion purification, which is not built in, is reported to undo such protection."
        )
    else:
        told.append("Determined: no counter-measure aimed at the protection was tried; --defenses determined tries them.")
    return told


def crafting_spread(lines: Iterable[ResultLine], run: Mapping, copy: str) -> list[str]:
    """How much the copies differ that were made as this one was, but for the seed; nothing where it is the only one."""
    recipes = {about["name"]: {**about["recipe"], "seed": None} for about in run["copies"] if about.get("recipe")}
    alike = [name for name, recipe in recipes.items() if recipe == recipes.get(copy)]
    lines = list(lines)
    heads = [headline(lines, name, defenses=split_list(EVERYDAY)) for name in alike]
    kept = Score.of(head.worst.kept for head in heads if head.lines)
    if kept.n < 2:
        return []
    return [
        f"Over {kept.n} crafting seeds ({list_some(alike)}), everyday exploiters keep {format_percent(kept.mean)} ± "
        f"{format_percent(kept.spread)} % at most."
    ]


def _kept(line: ResultLine) -> str:
    spread = "" if math.isnan(line.kept_spread) else f" ± {format_percent(line.kept_spread)}"
    return f"{format_percent(line.kept)}{spread} %"


def verdict(head: Headline) -> list[str]:
    """The headline's numbers in words."""
    if not head.lines:
        return [f"There is no headline for {head.copy}: nothing could be compared."]
    worst, noise = head.worst, head.worst.noise
    first = f"Worst case of {len(head.lines)}: {worst.place}." if len(head.lines) > 1 else f"The only case: {worst.place}."
    sentences = [
        f"{first} Victims reach {format_score_in_sentence(worst.protected)} on clean test images; "
        f"the best victim on clean copies without a defense reaches {format_score_in_sentence(worst.undefended)}, "
        f"and chance is {format_percent(worst.chance)} %.",
        f"That is {_describe_drop(head.drop)}{_describe_interval(head)}, "
        f"and {format_percent(worst.kept)} % of what clean images teach is kept.",
    ]
    if noise.n:
        share = "" if math.isnan(head.noise_share) else f", {format_percent(head.noise_share)} % of that drop"
        sentences.append(f"Against the same defense, random noise at the same budget gives {_describe_drop(head.noise_drop)}{share}.")
    else:
        sentences.append("No noise control finished, so the effect of random noise at this budget is unknown.")
    return [*sentences, _against_patterns(head)]


def _against_patterns(head: Headline) -> str:
    """Whether the copy does more than random patterns of the same energy, one per group, would do."""
    worst = head.worst
    if not worst.pattern.n:
        return (
            "There is no control with a random pattern per group (the groups are unknown), so what the choice of patterns adds is unknown."
        )
    found = f"Against the same defense, a random pattern per group of the same energy gives {_describe_drop(head.pattern_drop)}: "
    if head.beats_patterns:
        return found + "this copy protects more."
    if worst.pattern.is_below(worst.protected):
        return found + "this copy protects less."
    return found + "this copy cannot be told from it."


def _describe_drop(drop: float) -> str:
    return f"a drop of {format_percent(drop)} points" if drop >= 0 else f"no drop but a gain of {format_percent(-drop)} points"


def _describe_interval(head: Headline) -> str:
    interval = head.worst.undefended.minus(head.worst.protected)
    if math.isnan(interval.low):
        return ""
    ends = f"{format_percent(interval.low)} to {format_percent(interval.high)}"
    return f" ({100 * CONFIDENCE:.0f} % interval over seeds: {ends})"


def doubts(head: Headline) -> Iterator[str]:
    """Reservations about the headline: weak evidence, a defense that needs clean images, lines that were not compared."""
    if head.lines:
        yield from _significance_doubts(head)
    for why, lines in head.left_out:
        more = f"; and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
        yield f"Not compared, because {why}: {'; '.join(line.place for line in lines[:NAMED])}{more}."


def _significance_doubts(head: Headline) -> Iterator[str]:
    worst = head.worst
    if math.isnan(worst.protected.spread + worst.undefended.spread):
        yield "Nothing was shown: with one seed the spread is unknown. Run two or more seeds."
    elif not head.is_significant:
        yield f"Nothing was shown: the {100 * CONFIDENCE:.0f} % interval of the drop over seeds includes 0."
    elif not worst.clean.n:
        yield f"No clean control with the defense {worst.defense} finished, so what the defense itself costs is unknown."
    elif worst.defense != UNDEFENDED and not worst.protected.is_below(worst.clean):
        cost = format_percent(worst.undefended.mean - worst.clean.mean)
        yield f"Beyond what this victim and defense cost on clean images too ({cost} points), nothing was shown."
    if worst.needs_clean_images:
        yield f"The defense {worst.defense} assumes that the exploiter owns clean images.{_worst_without_clean_images(head)}"


def _worst_without_clean_images(head: Headline) -> str:
    """A sentence on the worst case among the defenses that need no clean images."""
    for line in head.lines:
        if not line.needs_clean_images:
            return f" Without such defenses: {line.place}, {format_score_in_sentence(line.protected)}, {format_percent(line.kept)} % kept."
    return ""


def copy_warnings(run: Mapping) -> list[str]:
    """What was said of each copy when it was made: what weakens or voids its protection."""
    return [f"{about['name']}: {warning}." for about in run["copies"] for warning in (about.get("facts") or {}).get("warnings", [])]


def warnings(lines: Iterable[ResultLine]) -> list[str]:
    """Copies whose numbers are suspect because random noise alone lowers accuracy much; names the worst line."""
    suspicious = [
        line
        for line in lines
        if line.defense == UNDEFENDED and line.fraction == 0 and not line.is_sanity_check and line.noise_drop > SUSPECT
    ]
    copies_of: dict[str, list[str]] = {}  # copies of one source and budget share their controls
    for copy in sorted({line.copy for line in suspicious}):
        worst = max((line for line in suspicious if line.copy == copy), key=lambda line: line.noise_drop)
        copies_of.setdefault(f"{format_percent(worst.noise_drop)} points below the clean one ({worst.place})", []).append(copy)
    suspect = f"More than {format_percent(SUSPECT)} means that the harness or the budget is suspect."
    return [f"The noise control of {list_some(names)} lies {how}. {suspect}" for how, names in copies_of.items()]


Entry = tuple[str, float]  # text and raw number
ALWAYS = ("victim", "relabel", "defense", "kept", "protected", "clean", "drop", "noise", "noise drop", "pattern", "chance")


def row_entries(line: ResultLine) -> dict[str, Entry]:
    """A line as texts, in percent and points, and raw numbers, by column."""
    return {
        "victim": (line.victim, math.nan),
        "relabel": (f"{line.relabel} (sanity floor)" if line.is_sanity_check else line.relabel, math.nan),
        "defense": (f"{line.defense} (owns clean images)" if line.needs_clean_images else line.defense, math.nan),
        "clean rows": percent_entry(line.fraction),
        "kept": percent_entry(math.nan if line.is_sanity_check else line.kept),
        "protected": score_entry(line.protected),
        "clean part": score_entry(line.part),
        "clean": score_entry(line.clean),
        "drop": percent_entry(line.drop),
        "noise": score_entry(line.noise),
        "noise drop": percent_entry(line.noise_drop),
        "pattern": score_entry(line.pattern),
        "perturbed test": score_entry(line.perturbed),
        "chance": percent_entry(line.chance),
        "AMI": (format_number(line.ami, ".2f"), line.ami),
        "purity": percent_entry(line.purity),
        "failed": (str(sum(count for _, count in line.failed)), float(sum(count for _, count in line.failed))),
    }


def informative_columns(lines: Iterable[ResultLine]) -> list[str]:
    """The columns with values; mixtures, clusters and failures may be absent."""
    rows = [row_entries(line) for line in lines]
    if not rows:
        return list(ALWAYS)
    return [name for name in rows[0] if name in ALWAYS or any(row[name][0] not in ("–", "0", "0.0") for row in rows)]


def markdown(table: pa.Table, run: Mapping) -> str:
    """The headline of each copy, then all lines: percent, mean ± standard deviation over seeds (n)."""
    lines = summary(table)
    text = [f"# {escape_markdown(run['title'])}", "", *(f"**Warning.** {line}\n" for line in [*warnings(lines), *copy_warnings(run)])]
    for copy in copy_names(table, run):
        worst = headline(lines, copy)
        leads = (*two_headlines(lines, copy), *crafting_spread(lines, run, copy))
        sentences = [f"- {escape_markdown(sentence)}" for sentence in (*leads, *verdict(worst), *doubts(worst))]
        text += [f"## {escape_markdown(copy)}", "", *sentences, ""]
    text += ["## All lines", "", "Percent; mean ± sample standard deviation over seeds (n). Drops in points against the same defense.", ""]
    for copy in copy_names(table, run):
        lines_of_copy = [line for line in lines if line.copy == copy]
        names = informative_columns(lines_of_copy)
        rows = [[row_entries(line)[name][0] for name in names] for line in lines_of_copy]
        text += [f"### {escape_markdown(copy)}", "", *markdown_table([names, *rows]), ""]
    failed = [f"- {escape_markdown(line.place)}: {escape_markdown(reason)} ({count}x)" for line in lines for reason, count in line.failed]
    return "\n".join([*text, *(["## Failed", "", *failed, ""] if failed else [])])


def percent_entry(fraction: float) -> Entry:
    return format_percent(fraction), fraction


def score_entry(score: Score) -> Entry:
    return format_score(score), score.mean
