"""Scores over seeds, and the worst case of each copy, from the rows of trained victims. Accuracies are fractions from 0 to 1."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from ray_ue.results.score import Score
from ray_ue.results.tables import RESULTS
from ray_ue.storage.artifacts import Folder

RUN = "run.json"  # the request and the facts of an evaluation
OWN_CLEAN = ("early", "leak")  # defenses of an exploiter who has some of the clean images
UNDEFENDED = "none"  # the exploiter's training without any defense
LPIPS = "lpips.json"  # in a copy's folder of `looks`


def looks(run: Folder, copy: str) -> Folder:
    """The folder of an evaluation that holds a copy's pictures and how visible its change is."""
    return run.child("looks").child(copy)


def mean_lpips(run: Folder, copy: str) -> float | None:
    """The mean LPIPS of some of the copy's images; None where it was not measured."""
    folder = looks(run, copy)
    return float(folder.read_json(LPIPS)["mean"]) if folder.exists(LPIPS) else None


def nonnegative_ratio(part: float, whole: float) -> float:
    """`part / whole`, at least 0; nan if `whole` is not positive or either is unknown."""
    return max(part / whole, 0.0) if whole > 0 else math.nan  # this order: max(nan, 0) is nan


@dataclass(frozen=True, kw_only=True)
class ResultLine:
    """All seeds of one copy, fraction, victim, relabel and defense, with their controls.

    Where a defense filters images, victims are tested on clean test images as they are and on filtered ones, and the better mean counts.
    """

    copy: str
    fraction: float
    victim: str
    relabel: str
    defense: str
    protected: Score
    clean: Score  # the clean control with the same defense
    noise: Score
    pattern: Score  # a random pattern per group with the copy's energy; n = 0 where the groups are unknown
    part: Score  # the clean rows of the mixture alone; n = 0 without a mixture
    perturbed: Score  # the protected victims on the perturbed test rows
    undefended: Score  # the clean control without a defense, of the best victim on these labels
    chance: float
    ami: float
    purity: float
    failed: tuple[tuple[str, int], ...]  # reason and how often, sorted

    @property
    def place(self) -> str:
        return f"victim {self.victim}, relabel {self.relabel}, defense {self.defense}"

    @property
    def drop(self) -> float:
        return self.clean.mean - self.protected.mean

    @property
    def noise_drop(self) -> float:
        return self.clean.mean - self.noise.mean

    @property
    def kept(self) -> float:
        """Accuracy above chance, as a fraction of that of the best undefended victim on clean images; nan if that is not above chance.

        The best victim is the reference for all because the exploiter chooses it: a network that learns little is no worst case.
        """
        return self.kept_by(self.protected)

    def kept_by(self, score: Score) -> float:
        """The same share for another score, such as a control's."""
        return nonnegative_ratio(score.mean - self.chance, self.undefended.mean - self.chance)

    @property
    def kept_spread(self) -> float:
        """The spread of the protected victims in the unit of `kept`; nan if that is unknown."""
        return nonnegative_ratio(self.protected.spread, self.undefended.mean - self.chance)

    @property
    def is_sanity_check(self) -> bool:
        """Random labels are a sanity check; no claim rests on them."""
        return self.relabel.startswith("random")

    @property
    def needs_clean_images(self) -> bool:
        """Whether a part of the defense (`a+b` applies both) assumes that the exploiter has clean images."""
        return any(part.startswith(OWN_CLEAN) for part in self.defense.split("+"))

    @property
    def is_learnable(self) -> bool:
        """Whether undefended victims learn these labels from clean images; with one seed, the spread counts as 0."""
        spread = 0.0 if math.isnan(self.undefended.spread) else self.undefended.spread
        return self.undefended.mean - self.chance > 2 * spread


def summary(table: pa.Table) -> list[ResultLine]:
    """One line per copy, fraction, victim, relabel and defense, sorted; the order of the rows does not matter."""
    cells: dict[tuple, list[dict]] = defaultdict(list)
    names = [name for name in RESULTS.schema.names if not name.startswith("curve_") and name != "class_accuracy"]
    for row in table.select(names).to_pylist():
        cells[row["data"], row["copy"], row["fraction"], row["victim"], row["relabel"], row["defense"]].append(row)
    keys = {key[1:] for key in cells if key[0] in ("protected", "clean-part")}
    covered = {(copy, *rest) for copy, _, *rest in keys}
    controls_only = {key[1:] for key in cells if (key[1], *key[3:]) not in covered}  # controls whose protected cells never ran
    return [_make_line(key, cells) for key in sorted(keys | controls_only, key=_sort_key)]


def _sort_key(key: tuple) -> tuple:
    """Undefended first, mixtures last."""
    copy, fraction, victim, relabel, defense = key
    return copy, fraction, victim, relabel, defense != UNDEFENDED, defense


def _make_line(key: tuple, cells: Mapping[tuple, list[dict]]) -> ResultLine:
    copy, fraction, victim, relabel, defense = key
    protected, clean_part = (cells.get((data, *key), []) for data in ("protected", "clean-part"))
    clean, noise, pattern = (cells.get((data, copy, 0.0, victim, relabel, defense), []) for data in ("clean", "noise", "pattern"))
    best_clean = _best_clean_control(cells, copy=copy, relabel=relabel)
    rows = [*protected, *clean_part, *clean, *noise, *pattern]
    rows_and_best = [*rows, *best_clean]
    return ResultLine(
        copy=copy,
        fraction=fraction,
        victim=victim,
        relabel=relabel,
        defense=defense,
        protected=_better_test(protected),
        clean=_better_test(clean),
        noise=_better_test(noise),
        pattern=_better_test(pattern),
        part=_better_test(clean_part),
        perturbed=Score.of(_finished_values(protected, "perturbed")),
        undefended=Score.of(_finished_values(best_clean, "accuracy")),
        chance=max((value for value in _finished_values(rows_and_best, "chance") if value is not None), default=math.nan),
        ami=Score.of(_finished_values(protected, "ami")).mean,
        purity=Score.of(_finished_values(protected, "purity")).mean,
        failed=tuple(sorted(Counter(row["reason"] for row in rows if row["status"] != "done").items())),
    )


def _best_clean_control(cells: Mapping[tuple, list[dict]], *, copy: str, relabel: str) -> list[dict]:
    """The undefended clean controls of the victim with the highest mean accuracy."""
    controls = [rows for key, rows in cells.items() if key[:3] == ("clean", copy, 0.0) and key[4:] == (relabel, UNDEFENDED)]
    means = [(Score.of(_finished_values(rows, "accuracy")).mean, rows[0]["victim"], rows) for rows in controls]
    return max((entry for entry in means if not math.isnan(entry[0])), key=lambda entry: entry[:2], default=(0.0, "", []))[2]


def _better_test(rows: Iterable[dict]) -> Score:
    """The score on test images as they are or on filtered ones, whichever mean is higher."""
    plain, filtered = (Score.of(_finished_values(rows, name)) for name in ("accuracy", "filtered"))
    return filtered if filtered.mean > plain.mean else plain


def _finished_values(rows: Iterable[dict], name: str) -> Iterator[float | None]:
    return (row[name] for row in rows if row["status"] == "done")


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The worst case of one copy: the line without mixture that has the largest `kept`. Differences are fractions."""

    copy: str
    lines: tuple[ResultLine, ...]  # the compared lines, the worst first; empty if none can be compared
    left_out: tuple[tuple[str, tuple[ResultLine, ...]], ...]  # a reason, and the lines that it excludes

    @property
    def worst(self) -> ResultLine:
        return self.lines[0]

    @property
    def drop(self) -> float:
        """The best undefended clean control minus protected; includes the cost of the defense and of a weaker victim."""
        return self.worst.undefended.mean - self.worst.protected.mean

    @property
    def noise_drop(self) -> float:
        """The same difference for the noise control with the worst case's defense."""
        return self.worst.undefended.mean - self.worst.noise.mean

    @property
    def pattern_drop(self) -> float:
        """The same difference for random patterns per group with the worst case's defense; nan without that control."""
        return self.worst.undefended.mean - self.worst.pattern.mean

    @property
    def beats_patterns(self) -> bool:
        """Whether the copy lies below random patterns of its energy, with the interval of the difference."""
        return self.worst.protected.is_below(self.worst.pattern)

    @property
    def noise_share(self) -> float:
        """The fraction of the drop that random noise causes as well; nan without a drop."""
        return nonnegative_ratio(self.noise_drop, self.drop)

    @property
    def is_significant(self) -> bool:
        return self.worst.protected.is_below(self.worst.undefended)


def headline(lines: Iterable[ResultLine], copy: str, *, defenses: Collection[str] = ()) -> Headline:
    """The worst case over victims, defenses (the named ones, or all) and relabels, without random labels and mixtures."""
    candidates = [line for line in lines if line.copy == copy and line.fraction == 0 and not line.is_sanity_check]
    candidates = [line for line in candidates if not defenses or line.defense in defenses]
    by_reason: dict[str, list[ResultLine]] = defaultdict(list)
    for line in candidates:
        by_reason[_reason_left_out(line)].append(line)
    ranked = sorted(by_reason.pop("", []), key=lambda line: (-line.kept, -line.protected.mean, line.victim, line.relabel, line.defense))
    return Headline(copy=copy, lines=tuple(ranked), left_out=tuple((why, tuple(excluded)) for why, excluded in sorted(by_reason.items())))


def _reason_left_out(line: ResultLine) -> str:
    """Why a line cannot be compared; empty if it can."""
    if not line.protected.n:
        return "no victim on the protected copy finished"
    if not line.undefended.n:
        return f"no clean control without a defense ({UNDEFENDED}) finished"
    return "" if line.is_learnable else "clean images do not teach these labels (the undefended clean control is near chance)"


def copy_names(table: pa.Table, run: Mapping) -> list[str]:
    """The names of the copies in the order of `run`, then those that only the table has."""
    listed = [copy["name"] for copy in run["copies"]]
    return listed + sorted(set(table.column("copy").to_pylist()) - set(listed))
