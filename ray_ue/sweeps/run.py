"""Sweeping: one call that tries the settings of a sweep and writes its table and page. It does no arithmetic."""

from typing import Any, Literal

from ray_ue.config.grid import Grid
from ray_ue.config.recipe import AUTOMATIC, FIELDS, Recipe, Resources
from ray_ue.engine.environment import prepare
from ray_ue.pipelines import protect
from ray_ue.progress import say
from ray_ue.registry import unknown
from ray_ue.storage.artifacts import Folder
from ray_ue.sweeps.request import COPIES, REQUEST, WORK, Search, SweepRequest, plan, request, room

PLAIN = Grid()


def run(made: SweepRequest) -> Folder:
    """Try what no earlier call has finished, write the table and the page; returns the sweep's folder."""
    made.home.check_writable()
    _, copies, work = room(made)
    there = made.home.child(COPIES).size() + made.home.child(WORK).size()  # what is written anew takes their place
    if made.home.local and copies + work > made.home.free_bytes() + there:
        raise ValueError(
            f"{made.home.uri} needs about {(copies + work) / 2**30:.1f} GiB, {made.home.free_bytes() / 2**30:.1f} GiB are free; "
            "vary less, sweep a part of the collection, or write smaller files with --image-format webp"
        )
    for recipe in {one.surrogate: one for one in made.recipes().values()}.values():
        protect.rehearse(recipe)
    before = made.home.read_json(REQUEST) if made.home.exists(REQUEST) else {}
    made.home.write_json(REQUEST, request(made) | {"spent": before.get("spent", 0.0)})
    prepare()
    # Ray takes seconds to import: a wrong flag must not wait for it.
    from ray_ue.report.sweep.page import write_sweep_page as report
    from ray_ue.sweeps.tuning import follow

    follow(made)
    report(made.home)
    say(f"    sweep  {made.home.path('report.html')}")
    return made.home


def sweep(
    source: str,
    output: str,
    *,
    test: str,
    vary: tuple[str, ...],
    evaluate: Grid = PLAIN,
    resources: Resources = AUTOMATIC,
    search: Literal["grid", "random", "optuna"] = "grid",
    samples: int = 0,
    stop_early: bool = False,
    concurrent: int = 0,
    loggers: str = "",
    **asked: Any,
) -> Folder:
    """Protect `source` once per setting and measure what protection each leaves; calling it again continues. Returns the folder.

    `asked` are the fields of `Recipe` that all settings share: `sweep("photos", "sweep", test="test", vary=("budget=8,16",), clusters=20)`.
    The folder holds `sweep.parquet` (`ray_ue.results.tables.TRIALS`), `sweep.md` and `report.html`; copies lie in `copies/`.
    """
    if strange := sorted(asked.keys() - set(FIELDS)):
        raise unknown(strange[0], FIELDS, what="recipe field")
    found = Search(vary=vary, search=search, samples=samples, stop_early=stop_early, concurrent=concurrent, loggers=loggers)
    return run(plan(source, output, test=test, recipe=Recipe(**asked), grid=evaluate, search=found, resources=resources))
