"""A sweep's folder, read once: its trials, front and axes, and the evaluation of all copies."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray_ue.perturbations.budget import Budget
from ray_ue.report.evaluation.folder import defenses
from ray_ue.results import evaluation, pareto
from ray_ue.results.evaluation import UNDEFENDED, ResultLine
from ray_ue.results.pareto import Row, is_comparable, number_or_nan, parse_point
from ray_ue.results.score import Score
from ray_ue.results.tables import RESULTS, TRIALS
from ray_ue.storage.artifacts import Folder

REQUEST, EVALUATION = "sweep.json", "evaluation"


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepFolder:
    """The input of the page."""

    folder: Folder
    request: dict[str, Any]
    rows: tuple[Row, ...]
    best: tuple[str, ...]  # names on the front
    lines: tuple[ResultLine, ...]  # of the evaluation, if there is one

    @classmethod
    def of(cls, folder: Folder) -> "SweepFolder":
        rows, run = TRIALS.read(folder).to_pylist(), folder.child(EVALUATION)
        lines = evaluation.summary(RESULTS.read(run)) if run.exists(RESULTS.name) else []
        return cls(folder=folder, request=folder.read_json(REQUEST), rows=tuple(rows), best=pareto.pareto_front(rows), lines=tuple(lines))

    @property
    def title(self) -> str:
        return f"Sweep of {' and '.join(self.axes()) or 'one setting'}"

    def on_front(self) -> list[Row]:
        return [row for name in self.best for row in self.rows if row["name"] == name]

    def compared(self) -> list[Row]:
        """The finished trials whose protection is known, best first."""
        return [row for row in pareto.rank_trials(self.rows) if is_comparable(row)]

    def axes(self) -> dict[str, tuple[Any, ...]]:
        """All values of each axis: numbers sorted, others in the order of the request."""
        requested = self.request["axes"]
        names = dict.fromkeys([*(axis for row in self.rows for axis in parse_point(row)), *requested])
        values_of: dict[str, dict[Any, None]] = {axis: dict.fromkeys(requested.get(axis, ())) for axis in names}
        for row in self.rows:
            for axis, value in parse_point(row).items():
                values_of.setdefault(axis, {})[value] = None
        return {axis: in_order(axis, values) for axis, values in values_of.items()}

    def varied(self) -> dict[str, tuple[Any, ...]]:
        """The axes with more than one value."""
        return {axis: values for axis, values in self.axes().items() if len(values) > 1}

    def score(self, row: Row) -> Score:
        """`kept` with the spread over its victims in the same unit; nan without the controls."""
        line = next(
            (candidate for candidate in self.pure(row) if (candidate.victim, candidate.relabel, candidate.defense) == place(row)), None
        )
        whole = math.nan if line is None else line.undefended.mean - line.chance
        spread = number_or_nan(row["spread"]) / whole if whole > 0 else math.nan
        return Score(mean=number_or_nan(row["kept"]), spread=spread, n=row["n"] or 0)

    def pure(self, row: Row) -> list[ResultLine]:
        """The lines of a trial's copy without mixtures and random labels."""
        return [line for line in self.lines if line.copy == row["name"] and line.fraction == 0 and not line.is_sanity_check]

    def plainly(self, row: Row) -> list[ResultLine]:
        """Those without a defense, or with the first defense if all have one."""
        lines = self.pure(row)
        return [line for line in lines if line.defense == (defenses(lines) or [UNDEFENDED])[0]]


def place(row: Row) -> tuple[str, str, str]:
    """Victim, relabel and defense of the worst case; empty without one."""
    return row["victim"] or "", row["relabel"] or "", row["defense"] or ""


def numeric(axis: str, value: object) -> float:
    """An axis value as a number; nan for a word. A budget counts in levels."""
    try:
        return float(Budget.parse(str(value)).levels) if axis == "budget" else float(str(value))
    except ValueError:
        return math.nan


def in_order(axis: str, values: Iterable[Any]) -> tuple[Any, ...]:
    entries = list(values)
    numbers = [numeric(axis, value) for value in entries]
    return tuple(
        entries if any(map(math.isnan, numbers)) else [value for _, value in sorted(zip(numbers, entries), key=lambda pair: pair[0])]
    )
