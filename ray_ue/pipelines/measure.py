"""`measure`: which victims of which runs are measured, and by which estimators."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_ue.config.grid import split_list
from ray_ue.config.recipe import AUTOMATIC, Resources
from ray_ue.engine.environment import prepare
from ray_ue.models.pretrained import specs
from ray_ue.pipelines.values import address, checked, split_resources
from ray_ue.progress import say
from ray_ue.registry import pick
from ray_ue.results import evaluation, information
from ray_ue.results.tables import INFORMATION, RESULTS
from ray_ue.storage.artifacts import Folder

if TYPE_CHECKING:
    from ray_ue.information import Estimator

DATA = ("clean", "noise", "protected")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is estimated. Equal measurements of an equal victim give the same numbers, and are made once."""

    victims: str = ""
    """Victims of the run to measure, with commas; empty takes all."""
    relabels: str = ""
    """Labellings of the run to measure, with commas; empty takes all."""
    estimators: str = "histogram,knn"
    """Of histogram, knn, kde and mine, in order of cost: on one core about 0.3, 2, 10 and 60 seconds per victim of 512 features."""
    rows: int = 10_000
    """Most training images, a fixed sample, whose features are paired with those of their clean originals."""
    slices: int = 0
    """Random directions of histogram, knn and kde; 0 takes each one's own (500, 100, 50)."""
    mine_steps: int = 1000
    """Training steps of mine's network."""
    layers: bool = False
    """Measure the outputs of the main blocks as well."""

    def check(self) -> None:
        """Refuse what cannot work."""
        self.chosen()
        if self.rows < 100:
            raise ValueError(f"--rows {self.rows} are too few to estimate information from; ask for 100 or more")
        if self.slices < 0 or self.slices == 1:
            raise ValueError(f"--slices {self.slices} has no spread; ask for 2 or more, or 0 for each estimator's own number")
        if self.mine_steps < 1:
            raise ValueError(f"--mine-steps must be 1 or more, got {self.mine_steps}")

    def chosen(self) -> "dict[str, Estimator]":
        """The estimators by name, with their settings."""
        from ray_ue.information import ESTIMATORS, Mine  # they bring libraries that take seconds to import

        names = split_list(self.estimators)
        if not names:
            raise ValueError(f"--estimators is empty; name one or more of {', '.join(ESTIMATORS)}")
        estimators = {}
        for name in names:
            plain = pick(ESTIMATORS, name, what="estimator")
            if isinstance(plain, Mine):
                estimators[name] = replace(plain, steps=self.mine_steps, last=min(plain.last, self.mine_steps))
            else:
                estimators[name] = replace(plain, slices=self.slices) if self.slices else plain  # type: ignore[type-var]
        return estimators


@dataclass(frozen=True, kw_only=True)
class MeasurementPlan:
    """A checked request: the lines of the results to measure, by run."""

    lines: Mapping[Folder, list[dict]]
    measurement: Measurement
    resources: Resources

    @property
    def home(self) -> Folder:
        """The first run, where the table goes."""
        return next(iter(self.lines))


def plan(runs: tuple[str, ...], *, measurement: Measurement, resources: Resources) -> MeasurementPlan:
    """Check a request before any long work; a `ValueError` says what was got and what would have worked."""
    if not runs:
        raise ValueError("name at least one run: a folder that ray-ue evaluate wrote, such as photos-protected.evaluation")
    resources.check()
    measurement.check()
    measurement = replace(measurement, victims=",".join(map(specs.rooted, split_list(measurement.victims))))
    folders = list(dict.fromkeys(Folder.at(run) for run in runs))
    for folder in folders:
        if not folder.exists(RESULTS.name):
            raise ValueError(f"{folder.uri} holds no {RESULTS.name}; name a folder that ray-ue evaluate wrote, once it has finished")
    finished_rows = {folder: [row for row in RESULTS.read(folder).to_pylist() if measurable(row)] for folder in folders}
    known = [row for rows in finished_rows.values() for row in rows]
    if not known:
        raise ValueError(f"no victim of {folders[0].uri} finished without a defense; only such ones are measured")
    for flag in ("victim", "relabel"):
        for name in split_list(getattr(measurement, f"{flag}s")):
            pick({row[flag]: row for row in known}, name, what=f"{flag} of this run")
    wanted_rows = {folder: [row for row in rows if wanted(row, measurement)] for folder, rows in finished_rows.items()}
    if not any(folder.exists(f"cell-{row['cell']}/net.safetensors") for folder, rows in wanted_rows.items() for row in rows):
        raise ValueError(f"{folders[0].uri} keeps no weights of its victims; evaluate with --keep-weights into a new --results folder")
    return MeasurementPlan(lines=wanted_rows, measurement=measurement, resources=resources)


def measurable(row: dict) -> bool:
    """Finished, undefended and unmixed: the victim saw the images of its data as they are."""
    return row["status"] == "done" and row["defense"] == evaluation.UNDEFENDED and row["fraction"] == 0 and row["data"] in DATA


def wanted(row: dict, measurement: Measurement) -> bool:
    return all(row[flag] in (split_list(getattr(measurement, f"{flag}s")) or [row[flag]]) for flag in ("victim", "relabel"))


def run(plan: MeasurementPlan) -> Folder:
    """Estimate what no earlier call has, write `information.parquet`, `information.md` and the page of the first run; returns it."""
    from ray_ue.report import report

    plan.home.check_writable()
    prepare()
    # Ray takes seconds to import: a wrong flag must not wait for it.
    from ray_ue.stages.evaluate.measure import measure_runs

    measurement = plan.measurement
    settings = {"estimators": measurement.chosen(), "rows": measurement.rows, "inner": measurement.layers}
    rows = measure_runs(plan.lines, **settings, resources=plan.resources)
    for reason, count in information.count_skipped(INFORMATION.write(plan.home, rows)):
        say(f"  skipped  {count} victim{'s' if count > 1 else ''}: {reason}")
    report(plan.home)
    return plan.home


def measure(*runs: str | Path, resources: Resources = AUTOMATIC, **asked: Any) -> Folder:
    """Estimate the mutual information between clean and published images in the features of a run's victims; returns the first run.

    `asked` are the fields of `Measurement`, the same as the command line's flags: `measure("run", estimators="histogram,mine")`. The folder
    then holds `information.parquet` (`ray_ue.results.tables.INFORMATION`), `information.md` and a section of `report.html`.
    """
    asked, resources = split_resources(asked, resources)
    measurement = Measurement(**checked(asked, of=Measurement, what="field of a measurement"))
    return run(plan(tuple(address(name, "a run") for name in runs), measurement=measurement, resources=resources))
