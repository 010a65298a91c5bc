"""Measurements of mutual information: one row per victim, layer and estimator, and what they add up to: gaps to the clean control, and how
they go together. It knows numbers and tables, not how anything is estimated or shown. Information is in nats, accuracies are shares."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa

from ray_ue.results.evaluation import Score
from ray_ue.storage.artifacts import Folder

TABLE = "information.parquet"
LAYER = "penultimate"  # gaps and their correlation are about this one, as in MI-UE
DEPTH = ("linear", "mlp2", "mlp3", "lenet5", "vgg11_bn", "resnet18")  # MI-UE's figure 2, in its order; others follow by name
SCHEMA = pa.schema(
    [
        ("run", pa.string()),  # the folder that ray-ue evaluate wrote
        ("copy", pa.string()),
        ("data", pa.string()),  # protected, clean or noise: what the victim was trained on
        ("victim", pa.string()),
        ("relabel", pa.string()),
        ("seed", pa.int64()),
        ("accuracy", pa.float64()),  # share of the clean test rows
        ("status", pa.string()),  # done or skipped
        ("reason", pa.string()),  # why it was skipped; empty when done
        ("layer", pa.string()),
        ("estimator", pa.string()),
        ("settings", pa.string()),  # JSON
        ("value", pa.float64()),  # nats between the features of the clean images and of what the victim was trained on
        ("corrected", pa.float64()),  # the same less its known bias; null where none is known
        ("stderr", pa.float64()),  # over slices; null where nothing is sliced
        ("slices", pa.int64()),
        ("rows", pa.int64()),  # pairs that entered
        ("logdet", pa.float64()),  # of what the victim was trained on, as are the next two; groups are the exploiter's labels
        ("intra", pa.float64()),
        ("inter", pa.float64()),
        ("cell", pa.string()),  # fingerprint of the victim
        ("fingerprint", pa.string()),  # of the measurement; empty when skipped
    ]
)


def read(run: Folder) -> pa.Table:
    """The measurements in a run folder, in SCHEMA; no rows where nothing was measured."""
    if not run.exists(TABLE):
        return SCHEMA.empty_table()
    found = run.read_table(TABLE)
    if gone := sorted(set(SCHEMA.names) - set(found.column_names)):
        raise ValueError(f"{run.uri}/{TABLE} lacks the columns {', '.join(gone)}; run ray-ue measure again")
    return found.select(SCHEMA.names).cast(SCHEMA)


def write(run: Folder, rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Write `rows` as the run's table; a field of SCHEMA that a row lacks becomes null."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
    run.write_table(TABLE, table)
    return table


@dataclass(frozen=True, kw_only=True)
class InformationLine:
    """All seeds of one method (a copy, its noise control or its clean one) under one victim, labelling, layer and estimator."""

    name: str  # of the method, for people
    data: str
    victim: str
    relabel: str
    layer: str
    estimator: str
    settings: str
    information: Score
    corrected: Score
    stderr: float  # mean over seeds
    accuracy: Score
    logdet: Score
    intra: Score
    inter: Score
    gap: float  # nats below the clean control; nan for itself and where there is none
    accuracy_gap: float

    @property
    def place(self) -> tuple[str, ...]:
        """What two lines share that may be compared."""
        return self.estimator, self.settings, self.layer, self.victim, self.relabel


def lines(table: pa.Table) -> list[InformationLine]:
    """Sorted; equal controls of several copies or runs, which are the same victims, count once."""
    groups: dict[tuple, list[dict]] = defaultdict(list)
    for row in table.to_pylist():
        if row["status"] == "done":
            groups[tuple(row[name] for name in ("run", "copy", "data", *PLACE))].append(row)
    named = _names(table)
    same: dict[tuple, list[tuple]] = defaultdict(list)  # the same victims at the same place -> groups, one per copy
    for key, rows in groups.items():
        same[tuple(sorted({row["cell"] for row in rows})), *key[2:]].append(key)
    found = []
    for keys in same.values():
        run, copy, data, *place = keys[0]
        copies = dict.fromkeys(named[key[:2]] for key in keys)
        whose = "" if set(copies) == set(named.values()) else f" ({', '.join(copies)})"
        name = ", ".join(copies) if data == "protected" else f"{data}{whose}"
        found.append(_line(name, data, groups[keys[0]], groups.get((run, copy, "clean", *place), [])))
    return sorted(found, key=lambda line: (line.estimator, line.settings, line.relabel, depth(line.victim), line.layer, *_last(line)))


PLACE = ("victim", "relabel", "layer", "estimator", "settings")


def _last(line: InformationLine) -> tuple:
    return ("clean", "noise", "protected").index(line.data), line.name


def depth(victim: str) -> tuple[int, str]:
    """Where a victim stands in MI-UE's order of depth; those that are not in it come after, by name."""
    return (DEPTH.index(victim) if victim in DEPTH else len(DEPTH)), victim


def _names(table: pa.Table) -> dict[tuple[str, str], str]:
    """A copy by its name, and with its run where several runs have one of that name."""
    pairs = sorted(set(zip(table.column("run").to_pylist(), table.column("copy").to_pylist())))
    every = [copy for _, copy in pairs]
    return {(run, copy): copy if every.count(copy) == 1 else f"{copy} of {run.rsplit('/', 1)[-1]}" for run, copy in pairs}


def _line(name: str, data: str, rows: Sequence[dict], clean: Sequence[dict]) -> InformationLine:
    def score(column: str, of: Sequence[dict] = rows) -> Score:
        return Score.of(row[column] for row in of)

    apart = data != "clean"
    return InformationLine(
        name=name,
        data=data,
        **{column: rows[0][column] for column in PLACE},
        information=score("value"),
        corrected=score("corrected"),
        stderr=score("stderr").mean,
        accuracy=score("accuracy"),
        logdet=score("logdet"),
        intra=score("intra"),
        inter=score("inter"),
        gap=score("value", clean).mean - score("value").mean if apart else math.nan,
        accuracy_gap=score("accuracy", clean).mean - score("accuracy").mean if apart else math.nan,
    )


def points(found: Iterable[InformationLine]) -> list[InformationLine]:
    """The lines that have both gaps, at the last layer."""
    return [line for line in found if line.layer == LAYER and not math.isnan(line.gap + line.accuracy_gap)]


@dataclass(frozen=True, kw_only=True)
class Association:
    """How the two gaps go together over `n` points; without a `reason` both coefficients are numbers."""

    estimator: str
    settings: str
    among: str
    n: int
    spearman: float
    pearson: float
    reason: str


def associations(found: Iterable[InformationLine]) -> list[Association]:
    """Over the methods under each victim and labelling, as MI-UE has it, and over all of them together where there are several."""
    split: dict[tuple[str, str], dict[tuple[str, str], list[InformationLine]]] = defaultdict(lambda: defaultdict(list))
    for line in points(found):
        split[line.estimator, line.settings][line.victim, line.relabel].append(line)
    told = []
    for (estimator, settings), places in split.items():
        named = [(f"victim {victim}, relabel {relabel}", mine) for (victim, relabel), mine in places.items()]
        if len(places) > 1:
            named.append(("all victims and relabels together", [line for mine in places.values() for line in mine]))
        told += [_association(estimator, settings, among, mine) for among, mine in named]
    return told


def _association(estimator: str, settings: str, among: str, mine: Sequence[InformationLine]) -> Association:
    from scipy.stats import pearsonr, spearmanr  # a second to import, which the command line would wait for

    one, other = [line.accuracy_gap for line in mine], [line.gap for line in mine]
    reason = ""
    if len(mine) < 3:
        reason = f"{len(mine)} point{'s' if len(mine) > 1 else ''} show none: 3 or more methods are needed"
    elif not (statistics.pvariance(one) > 0 and statistics.pvariance(other) > 0):
        reason = "one of the two gaps is the same for every method"
    rank, straight = (math.nan, math.nan) if reason else (cast(Any, how(one, other)).statistic for how in (spearmanr, pearsonr))
    return Association(estimator=estimator, settings=settings, among=among, n=len(mine), spearman=rank, pearson=straight, reason=reason)


def by_depth(found: Iterable[InformationLine]) -> dict[tuple[str, str, str, str], list[InformationLine]]:
    """(estimator, settings, method, relabel) -> its points from the shallowest victim on, for those with two victims or more."""
    split: dict[tuple[str, str, str, str], list[InformationLine]] = defaultdict(list)
    for line in points(found):
        split[line.estimator, line.settings, line.name, line.relabel].append(line)
    return {key: sorted(mine, key=lambda line: depth(line.victim)) for key, mine in split.items() if len(mine) > 1}


def skipped(table: pa.Table) -> list[tuple[str, int]]:
    """Why cells were skipped, and how many."""
    seen: dict[str, set] = defaultdict(set)
    for row in table.select(["run", "cell", "status", "reason"]).to_pylist():
        if row["status"] != "done":
            seen[row["reason"]].add((row["run"], row["cell"]))
    return sorted((reason, len(cells)) for reason, cells in seen.items())
