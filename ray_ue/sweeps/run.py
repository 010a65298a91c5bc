"""`sweep`: tries settings and writes a table and a page."""

from pathlib import Path
from typing import Any, Literal

from ray_ue.config.grid import Grid
from ray_ue.config.recipe import AUTOMATIC, Resources
from ray_ue.engine.environment import prepare
from ray_ue.pipelines.rehearsal import rehearse
from ray_ue.pipelines.values import address, recipe_from, split_resources
from ray_ue.progress import say
from ray_ue.storage.artifacts import Folder
from ray_ue.storage.locks import alone
from ray_ue.sweeps.request import COPIES, REQUEST, WORK, SweepRequest, estimate_disk, plan, request_as_json
from ray_ue.sweeps.search import Search

PLAIN = Grid()


def run(request: SweepRequest) -> Folder:
    """Try the settings that no earlier call has finished, and write the table and the page; returns the sweep's folder."""
    request.home.check_writable()
    with alone(request.home, what=request.home.uri):
        return _run(request)


def _run(request: SweepRequest) -> Folder:
    _, copies, work = estimate_disk(request)
    written = request.home.child(COPIES).size() + request.home.child(WORK).size()  # existing files are replaced
    if request.home.local and copies + work > request.home.free_bytes() + written:
        raise ValueError(
            f"{request.home.uri} needs about {(copies + work) / 2**30:.1f} GiB, {request.home.free_bytes() / 2**30:.1f} GiB are free; "
            "vary less, sweep a part of the collection, or write smaller files with --image-format webp"
        )
    for recipe in {recipe.surrogate: recipe for recipe in request.recipes().values()}.values():
        rehearse(recipe)
    before = request.home.read_json(REQUEST) if request.home.exists(REQUEST) else {}
    request.home.write_json(REQUEST, request_as_json(request) | {"spent": before.get("spent", 0.0)})
    prepare()
    # Importing Ray takes seconds, for which a wrong flag must not wait.
    from ray_ue.report.sweep.page import write_sweep_page as report
    from ray_ue.sweeps.tuning import run_sweep

    run_sweep(request)
    report(request.home)
    say(f"    sweep  {request.home.path('report.html')}")
    return request.home


def sweep(
    source: str | Path,
    output: str | Path,
    *,
    test: str | Path,
    vary: str | tuple[str, ...],
    evaluate: Grid = PLAIN,
    resources: Resources = AUTOMATIC,
    search: Literal["grid", "random", "optuna"] = "grid",
    samples: int = 0,
    stop_early: bool = False,
    concurrent: int = 0,
    loggers: str = "",
    **recipe_fields: Any,
) -> Folder:
    """Protect `source` once per setting and measure what protection each leaves; calling it again continues. Returns the folder.

    `recipe_fields` are those of `Recipe` and `Resources` that all settings share, as for `protect`; `vary` is an axis or several:
    `sweep("photos", "sweep", test="test", vary=("budget=8,16", "clusters=10,20"), method="uc")`.
    The folder holds `sweep.parquet` (`ray_ue.results.tables.TRIALS`), `sweep.md` and `report.html`; copies lie in `copies/`.
    """
    recipe_fields, resources = split_resources(recipe_fields, resources)
    axes = (vary,) if isinstance(vary, str) else tuple(vary)
    search_value = Search(vary=axes, search=search, samples=samples, stop_early=stop_early, concurrent=concurrent, loggers=loggers)
    source, output, test = (address(*one) for one in ((source, "source"), (output, "output"), (test, "test")))
    recipe = recipe_from(recipe_fields)
    return run(plan(source, output, test=test, recipe=recipe, grid=evaluate, search=search_value, resources=resources))
