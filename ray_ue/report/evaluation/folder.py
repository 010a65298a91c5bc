"""An evaluation's folder, read once: its table, its request, and the folders of its figures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ray_ue.results import evaluation
from ray_ue.results.evaluation import UNDEFENDED, Headline, ResultLine
from ray_ue.results.tables import RESULTS
from ray_ue.storage.artifacts import Folder


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationFolder:
    """The input of the page."""

    folder: Folder
    table: pa.Table
    run: dict[str, Any]
    lines: tuple[ResultLine, ...]
    names: tuple[str, ...]  # of the copies, in the order of the request

    @classmethod
    def of(cls, folder: Folder) -> "EvaluationFolder":
        table, run = RESULTS.read(folder), folder.read_json(evaluation.RUN)
        return cls(
            folder=folder, table=table, run=run, lines=tuple(evaluation.summary(table)), names=tuple(evaluation.copy_names(table, run))
        )

    def headline(self, copy: str) -> Headline:
        return evaluation.headline(self.lines, copy)

    def pure(self, copy: str) -> list[ResultLine]:
        """The lines of one copy without mixtures."""
        return [line for line in self.lines if line.copy == copy and line.fraction == 0]

    def about(self, copy: str) -> dict[str, Any]:
        """The entry of a copy in run.json; empty without one."""
        return next((description for description in self.run["copies"] if description["name"] == copy), {})

    def relabel(self, spec: str) -> dict[str, Any]:
        return next((description for description in self.run.get("relabels", []) if description["spec"] == spec), {})

    def looks(self, copy: str) -> Folder:
        return evaluation.looks(self.folder, copy)

    def each(self) -> Iterator[tuple[int, str]]:
        return enumerate(self.names)


def victims(lines: Iterable[ResultLine]) -> list[str]:
    return sorted({line.victim for line in lines})


def relabels(lines: Iterable[ResultLine]) -> list[str]:
    """Random relabels, a sanity check, last."""
    return [name for _, name in sorted({(line.is_sanity_check, line.relabel) for line in lines})]


def defenses(lines: Iterable[ResultLine]) -> list[str]:
    """Undefended first."""
    return sorted({line.defense for line in lines}, key=lambda name: (name != UNDEFENDED, name))
