"""An evaluation in words: the headline's sentences, what must be said beside them, and the Markdown page. It knows results, no files."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from ray_ue.parameters import list_some
from ray_ue.results.evaluation import UNDEFENDED, Headline, ResultLine, Score, copies, headline, summary

NAMED = 3  # places listed in a sentence before it says how many more
SUSPECT = 0.05  # UC and MI-UE report that noise at their budgets costs a victim a few points at most


def percent(share: float) -> str:
    """With one decimal; a dash where nothing is known."""
    if math.isnan(share):
        return "–"
    text = f"{100 * share:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def told(score: Score) -> str:
    """`61.3 ± 0.8 (3)`, in percent."""
    if not score.n:
        return "–"
    return f"{percent(score.mean)} ± {percent(score.spread)} ({score.n})" if score.n > 1 else f"{percent(score.mean)} (1)"


def spoken(score: Score) -> str:
    """`61.3 ± 0.8 % (n=3)`."""
    spread = f" ± {percent(score.spread)}" if score.n > 1 else ""
    return f"{percent(score.mean)}{spread} % (n={score.n})"


def verdict(head: Headline) -> list[str]:
    """The headline's numbers in words."""
    if not head.lines:
        return [f"There is no headline for {head.copy}: nothing could be compared."]
    worst, noise = head.worst, head.worst.noise
    first = f"Worst case of {len(head.lines)}: {worst.place}." if len(head.lines) > 1 else f"The only case: {worst.place}."
    found = [
        f"{first} Victims reach {spoken(worst.protected)} on clean test images; the best victim on clean copies without a "
        f"defense reaches {spoken(worst.undefended)}, and chance is {percent(worst.chance)} %.",
        f"That is {_fall(head.drop)}, and {percent(worst.kept)} % of what clean images teach is kept.",
    ]
    if noise.n:
        share = "" if math.isnan(head.noise_share) else f", {percent(head.noise_share)} % of that drop"
        found.append(f"Against the same defense, random noise at the same budget gives {_fall(head.noise_drop)}{share}.")
    else:
        found.append("No noise control finished beside it, so nobody knows what the same budget of random noise would have done.")
    return found


def _fall(drop: float) -> str:
    return f"a drop of {percent(drop)} points" if drop >= 0 else f"no drop but a gain of {percent(-drop)} points"


def doubts(head: Headline) -> Iterator[str]:
    """What must be said beside the headline: nothing shown, a defense that owns clean images, what was not compared."""
    if head.lines:
        yield from _weak(head)
    for why, lines in head.left_out:
        more = f"; and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
        yield f"Not compared, because {why}: {'; '.join(line.place for line in lines[:NAMED])}{more}."


def _weak(head: Headline) -> Iterator[str]:
    worst = head.worst
    if math.isnan(worst.protected.spread + worst.undefended.spread):
        yield "Nothing was shown: with one seed the spread is unknown. Run two or more seeds."
    elif not head.shown:
        yield "Nothing was shown: the drop is smaller than twice the spread over seeds."
    elif not worst.clean.n:
        yield f"No clean control with the defense {worst.defense} finished, so what the defense itself costs is unknown."
    elif worst.defense != UNDEFENDED and not worst.protected.below(worst.clean):
        cost = percent(worst.undefended.mean - worst.clean.mean)
        yield f"Beyond what this victim and defense cost on clean images too ({cost} points), nothing was shown."
    if worst.owns_clean:
        yield f"The defense {worst.defense} assumes that the exploiter owns clean images.{_otherwise(head)}"


def _otherwise(head: Headline) -> str:
    """The worst case among the defenses that need no clean images."""
    for line in head.lines:
        if not line.owns_clean:
            return f" Without such defenses: {line.place}, {spoken(line.protected)}, {percent(line.kept)} % kept."
    return ""


def warnings(lines: Iterable[ResultLine]) -> list[str]:
    """What makes a whole copy's numbers suspect: noise that hurts as a crafted perturbation should; the worst line is named."""
    plain = [line for line in lines if line.defense == UNDEFENDED and line.fraction == 0 and not line.floor and line.noise_drop > SUSPECT]
    same: dict[str, list[str]] = {}  # copies of one source and budget share their controls
    for copy in sorted({line.copy for line in plain}):
        worst = max((line for line in plain if line.copy == copy), key=lambda line: line.noise_drop)
        same.setdefault(f"{percent(worst.noise_drop)} points below the clean one ({worst.place})", []).append(copy)
    suspect = f"More than {percent(SUSPECT)} means that the harness or the budget is suspect."
    return [f"The noise control of {list_some(names)} lies {how}. {suspect}" for how, names in same.items()]


PLACE = ("victim", "relabel", "defense")
COLUMNS = (*PLACE, "clean rows", "kept", "protected", "clean part", "clean", "drop", "noise", "noise drop", "perturbed test")
COLUMNS += ("chance", "AMI", "purity", "failed")


def entries(line: ResultLine) -> dict[str, str]:
    """A line as texts under COLUMNS, in percent and points."""
    return {
        "victim": line.victim,
        "relabel": f"{line.relabel} (sanity floor)" if line.floor else line.relabel,
        "defense": f"{line.defense} (owns clean images)" if line.owns_clean else line.defense,
        "clean rows": percent(line.fraction),
        "kept": "–" if line.floor else percent(line.kept),
        "protected": told(line.protected),
        "clean part": told(line.part),
        "clean": told(line.clean),
        "drop": percent(line.drop),
        "noise": told(line.noise),
        "noise drop": percent(line.noise_drop),
        "perturbed test": told(line.perturbed),
        "chance": percent(line.chance),
        "AMI": "–" if math.isnan(line.ami) else f"{line.ami:.2f}",
        "purity": percent(line.purity),
        "failed": str(sum(count for _, count in line.failed)),
    }


def columns(lines: Iterable[ResultLine]) -> list[str]:
    """Those of COLUMNS that say something: nothing was mixed in without clean rows, clusters may be unknown, and little fails."""
    texts = [entries(line) for line in lines]
    return [name for name in COLUMNS if name in ALWAYS or any(text[name] not in ("–", "0", "0.0") for text in texts)]


ALWAYS = (*PLACE, "kept", "protected", "clean", "drop", "noise", "noise drop", "chance")


def markdown(table: pa.Table, run: Mapping) -> str:
    """The headline of each copy, then all lines: percent, mean ± standard deviation over seeds (n)."""
    lines = summary(table)
    text = [f"# {plain(run['title'])}", "", *(f"**Warning.** {line}\n" for line in warnings(lines))]
    for copy in copies(table, run):
        text += [f"## {plain(copy)}", "", *(f"- {plain(line)}" for line in _said(headline(lines, copy))), ""]
    text += ["## All lines", "", "Percent; mean ± sample standard deviation over seeds (n). Drops in points against the same defense.", ""]
    for copy in copies(table, run):
        mine = [line for line in lines if line.copy == copy]
        shown = columns(mine)
        rows = [[entries(line)[name] for name in shown] for line in mine]
        text += [f"### {plain(copy)}", "", *grid([shown, *rows]), ""]
    failed = [f"- {plain(line.place)}: {plain(reason)} ({count}x)" for line in lines for reason, count in line.failed]
    return "\n".join([*text, *(["## Failed", "", *failed, ""] if failed else [])])


def _said(head: Headline) -> list[str]:
    return [*verdict(head), *doubts(head)]


def grid(rows: Sequence[Sequence[str]]) -> list[str]:
    drawn = ["| " + " | ".join(plain(entry) for entry in row) + " |" for row in rows]
    return [drawn[0], "|" + "---|" * len(rows[0]), *drawn[1:]]


def plain(text: str) -> str:
    """One line that cannot end a table cell or open a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
