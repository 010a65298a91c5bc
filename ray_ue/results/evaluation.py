"""Results of an evaluation: one row per trained victim, and what they add up to. It knows numbers and tables, not how a victim is trained
or a page is made. Accuracies and their differences are shares from 0 to 1; words for people are in `ray_ue.report.evaluation.words`."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from ray_ue.storage.artifacts import Folder

# A run folder holds: results.parquet in this schema, run.json, and looks/ (pictures and features; any of it may be missing).
SCHEMA = pa.schema(
    [
        ("copy", pa.string()),  # name of the protected copy that the row belongs to; controls are repeated for every copy
        ("data", pa.string()),  # protected, clean, noise, or clean-part: the clean rows of a mixture alone
        ("fraction", pa.float64()),  # share of the training rows that are clean; 0 for the controls clean and noise
        ("victim", pa.string()),
        ("relabel", pa.string()),
        ("defense", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),  # done or failed
        ("reason", pa.string()),  # why it failed; empty when done
        ("accuracy", pa.float64()),  # share of the clean test rows, from 0 to 1, at the end
        ("perturbed", pa.float64()),  # share of the perturbed test rows; null when there are none
        ("train", pa.float64()),  # share of its own training rows
        ("loss", pa.float64()),  # mean training loss of the last epoch
        ("chance", pa.float64()),  # what naming the most frequent test class gives
        ("classes", pa.int64()),
        ("ami", pa.float64()),  # agreement of the copy's clusters with the exploiter's labels; null when the clusters are unknown
        ("purity", pa.float64()),
        ("rows", pa.int64()),  # training images
        ("epochs", pa.int64()),
        ("images", pa.int64()),  # image passes
        ("seconds", pa.float64()),
        ("device", pa.string()),
        ("curve_epoch", pa.list_(pa.int64())),
        ("curve_accuracy", pa.list_(pa.float64())),  # on a stated sample of the clean test rows
        ("curve_perturbed", pa.list_(pa.float64())),
        ("curve_loss", pa.list_(pa.float64())),
        ("class_accuracy", pa.list_(pa.float64())),  # per exploiter's class; nan for a class without test rows
        ("cell", pa.string()),  # fingerprint
    ]
)

TABLE, RUN = "results.parquet", "run.json"
UNDEFENDED = "none"  # the exploiter's training without any defense


def read(run: Folder) -> pa.Table:
    """The rows of a run folder, in SCHEMA."""
    found = run.read_table(TABLE)
    if gone := sorted(set(SCHEMA.names) - set(found.column_names)):
        raise ValueError(f"{run.uri}/{TABLE} lacks the columns {', '.join(gone)}; it was not written by this version of ray-ue evaluate")
    return found.select(SCHEMA.names).cast(SCHEMA)


def write(run: Folder, rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Write `rows` as the run's table; a field of SCHEMA that a row lacks becomes null."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
    run.write_table(TABLE, table)
    return table


@dataclass(frozen=True, kw_only=True)
class Score:
    """Mean and sample standard deviation (ddof = 1) of `n` seeds; the mean is nan for none, the spread for fewer than two."""

    mean: float
    spread: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Score":
        """Exact sums, so the order of the values does not matter; missing ones do not count."""
        known = [value for value in values if value is not None and not math.isnan(value)]
        mean = statistics.fmean(known) if known else math.nan
        return cls(mean=mean, spread=statistics.stdev(known) if len(known) > 1 else math.nan, n=len(known))

    def below(self, other: "Score") -> bool:
        """Whether this lies under `other` by more than twice the spread of the difference; unknown spreads show nothing."""
        return other.mean - self.mean > 2 * math.hypot(self.spread, other.spread)


def share(part: float, whole: float) -> float:
    """`part / whole`, at least 0; nan where the whole is nothing or either is unknown."""
    return max(part / whole, 0.0) if whole > 0 else math.nan  # this order: max(nan, 0) is nan


@dataclass(frozen=True, kw_only=True)
class ResultLine:
    """All seeds of one copy, fraction, victim, relabel and defense, beside their controls."""

    copy: str
    fraction: float
    victim: str
    relabel: str
    defense: str
    protected: Score
    clean: Score  # the clean control with the same defense
    noise: Score
    part: Score  # the clean rows of the mixture alone; n = 0 where nothing is mixed
    perturbed: Score  # the protected victims on the perturbed test rows
    undefended: Score  # the clean control without a defense, of the victim that does best with these labels
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
        """Share of what clean images teach the best undefended victim above chance that this protected one has; nan where it is nothing.

        The best victim is the measure for all, for the exploiter chooses: a weak network that never learnt much is no worst case.
        """
        return share(self.protected.mean - self.chance, self.undefended.mean - self.chance)

    @property
    def floor(self) -> bool:
        """Random labels: a sanity check that no claim rests on."""
        return self.relabel.startswith("random")

    @property
    def owns_clean(self) -> bool:
        """A part of the defense (`a+b` does both) assumes that the exploiter has clean images."""
        return any(part.startswith("early") for part in self.defense.split("+"))

    @property
    def teaches(self) -> bool:
        """Whether undefended victims learn these labels from clean images at all; one seed is taken at its word."""
        spread = 0.0 if math.isnan(self.undefended.spread) else self.undefended.spread
        return self.undefended.mean - self.chance > 2 * spread


def summary(table: pa.Table) -> list[ResultLine]:
    """One line per copy, fraction, victim, relabel and defense, sorted; the order of the rows does not matter."""
    cells: dict[tuple, list[dict]] = defaultdict(list)
    names = [name for name in SCHEMA.names if not name.startswith("curve_") and name != "class_accuracy"]
    for row in table.select(names).to_pylist():
        cells[row["data"], row["copy"], row["fraction"], row["victim"], row["relabel"], row["defense"]].append(row)
    asked = {key[1:] for key in cells if key[0] in ("protected", "clean-part")}
    covered = {(copy, *rest) for copy, _, *rest in asked}
    alone = {key[1:] for key in cells if (key[1], *key[3:]) not in covered}  # controls whose protected cells never ran
    return [_line(key, cells) for key in sorted(asked | alone, key=_order)]


def _order(key: tuple) -> tuple:
    """Undefended first, mixtures after everything pure."""
    copy, fraction, victim, relabel, defense = key
    return copy, fraction, victim, relabel, defense != UNDEFENDED, defense


def _line(key: tuple, cells: Mapping[tuple, list[dict]]) -> ResultLine:
    copy, fraction, victim, relabel, defense = key
    mine, part = (cells.get((data, *key), []) for data in ("protected", "clean-part"))
    clean, noise = (cells.get((data, copy, 0.0, victim, relabel, defense), []) for data in ("clean", "noise"))
    base = _best(cells, copy=copy, relabel=relabel)
    every = [*mine, *part, *clean, *noise]
    known = [*every, *base]
    return ResultLine(
        copy=copy,
        fraction=fraction,
        victim=victim,
        relabel=relabel,
        defense=defense,
        protected=Score.of(_done(mine, "accuracy")),
        clean=Score.of(_done(clean, "accuracy")),
        noise=Score.of(_done(noise, "accuracy")),
        part=Score.of(_done(part, "accuracy")),
        perturbed=Score.of(_done(mine, "perturbed")),
        undefended=Score.of(_done(base, "accuracy")),
        chance=max((value for value in _done(known, "chance") if value is not None), default=math.nan),
        ami=Score.of(_done(mine, "ami")).mean,
        purity=Score.of(_done(mine, "purity")).mean,
        failed=tuple(sorted(Counter(row["reason"] for row in every if row["status"] != "done").items())),
    )


def _best(cells: Mapping[tuple, list[dict]], *, copy: str, relabel: str) -> list[dict]:
    """The undefended clean controls of the victim with the highest mean accuracy."""
    every = [rows for key, rows in cells.items() if key[:3] == ("clean", copy, 0.0) and key[4:] == (relabel, UNDEFENDED)]
    means = [(Score.of(_done(rows, "accuracy")).mean, rows[0]["victim"], rows) for rows in every]
    return max((one for one in means if not math.isnan(one[0])), key=lambda one: one[:2], default=(0.0, "", []))[2]


def _done(rows: Iterable[dict], name: str) -> Iterator[float | None]:
    return (row[name] for row in rows if row["status"] == "done")


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The worst case of one copy: the pure line that keeps most of what clean images teach the best victim. Differences are shares."""

    copy: str
    lines: tuple[ResultLine, ...]  # those that were compared, the worst first; empty where nothing could be
    left_out: tuple[tuple[str, tuple[ResultLine, ...]], ...]  # why, and which lines could not be compared

    @property
    def worst(self) -> ResultLine:
        return self.lines[0]

    @property
    def drop(self) -> float:
        """The best undefended clean control minus protected: the costs of the defense and of a weaker victim are in it."""
        return self.worst.undefended.mean - self.worst.protected.mean

    @property
    def noise_drop(self) -> float:
        """The same difference for the noise control with the worst case's defense."""
        return self.worst.undefended.mean - self.worst.noise.mean

    @property
    def noise_share(self) -> float:
        """How much of the drop noise alone explains; nan where there is no drop."""
        return share(self.noise_drop, self.drop)

    @property
    def shown(self) -> bool:
        return self.worst.protected.below(self.worst.undefended)


def headline(lines: Iterable[ResultLine], copy: str) -> Headline:
    """The worst case over victims, defenses and relabels; random labels and mixtures are no part of it."""
    mine = [line for line in lines if line.copy == copy and line.fraction == 0 and not line.floor]
    sorted_out: dict[str, list[ResultLine]] = defaultdict(list)
    for line in mine:
        sorted_out[_excuse(line)].append(line)
    ranked = sorted(sorted_out.pop("", []), key=lambda line: (-line.kept, -line.protected.mean, line.victim, line.relabel, line.defense))
    return Headline(copy=copy, lines=tuple(ranked), left_out=tuple((why, tuple(found)) for why, found in sorted(sorted_out.items())))


def _excuse(line: ResultLine) -> str:
    """Why a line cannot be compared; empty when it can."""
    if not line.protected.n:
        return "no victim on the protected copy finished"
    if not line.undefended.n:
        return f"no clean control without a defense ({UNDEFENDED}) finished"
    return "" if line.teaches else "clean images do not teach these labels (the undefended clean control is near chance)"


def copies(table: pa.Table, run: Mapping) -> list[str]:
    """The names of the copies: first in the order of `run`, then those only in the table."""
    listed = [copy["name"] for copy in run["copies"]]
    return listed + sorted(set(table.column("copy").to_pylist()) - set(listed))
