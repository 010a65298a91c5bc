"""Gaps of mutual information (in nats) and of accuracy to the clean control, and their correlation."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa

from ray_ue.results.score import Score

LAYER = "penultimate"  # the layer of the gaps and their correlation, as in MI-UE
DEPTH = ("linear", "mlp2", "mlp3", "lenet5", "vgg11_bn", "resnet18")  # the order of MI-UE's figure 2; others follow by name


@dataclass(frozen=True, kw_only=True)
class InformationLine:
    """All seeds of one method (a copy, its noise control or its clean control) with one victim, relabel, layer and estimator."""

    name: str  # of the method, for display
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
    gap: float  # nats below the clean control; nan for the control itself and without one
    accuracy_gap: float


def lines(table: pa.Table) -> list[InformationLine]:
    """All lines, sorted. Controls that several copies or runs share are the same victims and count once."""
    groups: dict[tuple, list[dict]] = defaultdict(list)
    for row in table.to_pylist():
        if row["status"] == "done":
            groups[tuple(row[name] for name in ("run", "copy", "data", *PLACE))].append(row)
    copy_names = _unique_names(table)
    same_victims: dict[tuple, list[tuple]] = defaultdict(list)  # victims and setting -> groups, one per copy
    for key, rows in groups.items():
        same_victims[tuple(sorted({row["cell"] for row in rows})), *key[2:]].append(key)
    result = []
    for keys in same_victims.values():
        run, copy, data, *place = keys[0]
        copies = dict.fromkeys(copy_names[key[:2]] for key in keys)
        suffix = "" if set(copies) == set(copy_names.values()) else f" ({', '.join(copies)})"
        name = ", ".join(copies) if data == "protected" else f"{data}{suffix}"
        result.append(_make_line(name, data, groups[keys[0]], groups.get((run, copy, "clean", *place), [])))
    return sorted(result, key=_sort_key)


PLACE = ("victim", "relabel", "layer", "estimator", "settings")


def _sort_key(line: InformationLine) -> tuple:
    method = ("clean", "noise", "protected").index(line.data), line.name
    return line.estimator, line.settings, line.relabel, depth_sort_key(line.victim), line.layer, *method


def depth_sort_key(victim: str) -> tuple[int, str]:
    """The position of a victim in MI-UE's order of depth; other victims follow by name."""
    return (DEPTH.index(victim) if victim in DEPTH else len(DEPTH)), victim


def _unique_names(table: pa.Table) -> dict[tuple[str, str], str]:
    """The name of each copy, with its run if several runs have a copy of that name."""
    pairs = sorted(set(zip(table.column("run").to_pylist(), table.column("copy").to_pylist())))
    copies = [copy for _, copy in pairs]
    return {(run, copy): copy if copies.count(copy) == 1 else f"{copy} of {run.rsplit('/', 1)[-1]}" for run, copy in pairs}


def _make_line(name: str, data: str, rows: Sequence[dict], clean: Sequence[dict]) -> InformationLine:
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


def lines_with_gaps(lines: Iterable[InformationLine]) -> list[InformationLine]:
    """The lines of the last layer that have both gaps."""
    return [line for line in lines if line.layer == LAYER and not math.isnan(line.gap + line.accuracy_gap)]


@dataclass(frozen=True, kw_only=True)
class Association:
    """The correlation of the two gaps over `n` points; if there is none, `reason` says why."""

    estimator: str
    settings: str
    among: str
    n: int
    spearman: float
    pearson: float
    reason: str


def associations(lines: Iterable[InformationLine]) -> list[Association]:
    """Correlations over the methods for each victim and relabel, as in MI-UE, and over all of them together if there are several."""
    split: dict[tuple[str, str], dict[tuple[str, str], list[InformationLine]]] = defaultdict(lambda: defaultdict(list))
    for line in lines_with_gaps(lines):
        split[line.estimator, line.settings][line.victim, line.relabel].append(line)
    result = []
    for (estimator, settings), places in split.items():
        groups = [(f"victim {victim}, relabel {relabel}", group) for (victim, relabel), group in places.items()]
        if len(places) > 1:
            groups.append(("all victims and relabels together", [line for group in places.values() for line in group]))
        result += [_association(estimator, settings, among, group) for among, group in groups]
    return result


def _association(estimator: str, settings: str, among: str, lines: Sequence[InformationLine]) -> Association:
    from scipy.stats import pearsonr, spearmanr  # takes a second to import

    accuracy_gaps, information_gaps = [line.accuracy_gap for line in lines], [line.gap for line in lines]
    reason = ""
    if len(lines) < 3:
        reason = f"{len(lines)} point{'s' if len(lines) > 1 else ''} are too few: 3 or more methods are needed"
    elif not (statistics.pvariance(accuracy_gaps) > 0 and statistics.pvariance(information_gaps) > 0):
        reason = "one of the two gaps is equal for all methods"
    rank, linear = (
        (math.nan, math.nan) if reason else (cast(Any, how(accuracy_gaps, information_gaps)).statistic for how in (spearmanr, pearsonr))
    )
    return Association(estimator=estimator, settings=settings, among=among, n=len(lines), spearman=rank, pearson=linear, reason=reason)


def group_by_depth(lines: Iterable[InformationLine]) -> dict[tuple[str, str, str, str], list[InformationLine]]:
    """(estimator, settings, method, relabel) -> its lines from the shallowest victim on, if there are two victims or more."""
    split: dict[tuple[str, str, str, str], list[InformationLine]] = defaultdict(list)
    for line in lines_with_gaps(lines):
        split[line.estimator, line.settings, line.name, line.relabel].append(line)
    return {key: sorted(group, key=lambda line: depth_sort_key(line.victim)) for key, group in split.items() if len(group) > 1}


def count_skipped(table: pa.Table) -> list[tuple[str, int]]:
    """Reasons for skipped cells, and the number of cells for each."""
    cells_of: dict[str, set] = defaultdict(set)
    for row in table.select(["run", "cell", "status", "reason"]).to_pylist():
        if row["status"] != "done":
            cells_of[row["reason"]].add((row["run"], row["cell"]))
    return sorted((reason, len(cells)) for reason, cells in cells_of.items())
