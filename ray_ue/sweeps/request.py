"""`SweepRequest`, a checked request to sweep, and its plan in words. It imports no Ray."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod

from ray_ue.config.grid import Grid, grid_cells, split_list
from ray_ue.config.recipe import Recipe, Resources, list_differences
from ray_ue.pipelines import evaluate, protect
from ray_ue.pipelines.evaluate import absolute
from ray_ue.pipelines.planning import bank_bytes, estimate, median_side, sized, views_bytes
from ray_ue.progress import counted, format_bytes
from ray_ue.results.evaluation import UNDEFENDED
from ray_ue.sources import open_source
from ray_ue.storage.artifacts import Folder
from ray_ue.sweeps import space
from ray_ue.sweeps.search import Search

REQUEST = "sweep.json"
COPIES, WORK, CELLS, TRIALS, CONTROLS = "copies", "work", "evaluation", "trials", "controls"
SHARED = f"../../{WORK}"  # from the work folder of a copy
MOST = 2_000  # settings; each is checked before the first starts
LIMITS = [
    "The worst case is over the victims, relabels and defenses of this sweep alone: an exploiter may find better ones.",
    "There is one copy per setting: the spread is over victims, not over crafting seeds.",
    "By chance, the best of many settings looks better than it is: evaluate it again, with more seeds and defenses.",
]


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """A request that passed every check that needs no images."""

    source: str
    test: str
    home: Folder
    recipe: Recipe
    grid: Grid
    search: Search
    resources: Resources
    axes: space.Axes = field(default_factory=dict)
    digests: tuple[str, str] = ("", "")  # of the listings of source and test

    def recipes(self) -> dict[str, Recipe]:
        """The recipe of every setting that may be tried, by name."""
        return space.recipes_by_name(self.points(), base=self.recipe)

    def points(self) -> list[space.Point]:
        points = space.list_points(self.axes)
        random_search = self.search.search == "random"
        return space.draw_points(points, samples=self.search.samples, seed=self.recipe.seed) if random_search else points

    def copy(self, name: str) -> str:
        return self.home.child(COPIES).child(name).uri


def plan(source: str, output: str, *, test: str, recipe: Recipe, grid: Grid, search: Search, resources: Resources) -> SweepRequest:
    """Check a request; a `ValueError` says what is wrong and what would have worked."""
    for given, what in ((source, "a source of images"), (output, "a folder for the sweep"), (test, "--test, clean images never published")):
        if not given.strip():
            raise ValueError(
                f"{what} is missing; write for example: ray-ue sweep photos/ photos-sweep/ --test photos-test/ --vary budget=8,16"
            )
    search.check()
    if "mlflow" in split_list(search.loggers) and not Folder.at(output).local:
        raise ValueError(f"--loggers mlflow needs a local folder, and {output} is none; use tensorboard, or a local output")
    resources.check()
    grid = grid.settled().trained_on(gpus=0).with_absolute_paths()
    grid.check()
    evaluate.refuse_wrong_names(grid)
    refuse_grids_without_worst_case(grid, search)
    if grid.purified_folders():
        raise ValueError("--evaluate.purified does not work in a sweep; purify and evaluate the chosen copy by itself")
    evaluate.refuse_swapped(clean=absolute(source), test=absolute(test), source="SOURCE")
    evaluate.refuse_trained_on(clean=absolute(source), test=absolute(test))
    recipe, home = protect.rooted(recipe), Folder.at(output)
    opened_source, opened_test = (open_source(uri, format=recipe.format, carry=recipe.patterns()) for uri in (source, test))
    recipe = recipe if recipe.image_size else sized(recipe, opened_source)
    request = SweepRequest(
        source=absolute(source),
        test=absolute(test),
        home=home,
        recipe=recipe,
        grid=grid,
        search=search,
        resources=resources,
        axes=space.parse_axes(search.vary),
        digests=(opened_source.digest(), opened_test.digest()),
    )
    if (count := prod(map(len, request.axes.values()))) > MOST:
        raise ValueError(f"--vary gives {count:,} settings, more than {MOST:,}; name fewer values")
    if 0 in request.axes.get("image_size", ()):
        raise ValueError(
            "--vary image_size takes numbers of pixels, got 0; without --vary, --image-size auto takes one that suits the pictures"
        )
    if "resize" in request.axes and not grid.image_size:
        raise ValueError("--vary resize changes the images of victims; set one size for all victims with --evaluate.image-size")
    evaluate.refuse_inside(home, (request.source, request.test))
    refuse_other_sweep(request)
    for name, setting_recipe in request.recipes().items():
        protect.plan(opened_source, request.copy(name), recipe=setting_recipe, resources=resources, shared=SHARED)
    return request


def refuse_grids_without_worst_case(grid: Grid, search: Search) -> None:
    """Raise `ValueError` for grids without a worst case."""
    if UNDEFENDED not in grid.defense_names():
        raise ValueError(f"--evaluate.defenses {grid.defenses} lacks none: a worst case needs victims without a defense")
    if all(name.startswith("random") for name in grid.relabel_names(classes=10)):
        raise ValueError(f"--evaluate.relabels {grid.relabels} is a sanity check that no claim rests on; add identity or pseudo:10")
    if search.stop_early and grid.seeds < 2:
        raise ValueError("--stop-early compares settings after each seed; ask for --evaluate.seeds 2 or more")


def refuse_other_sweep(request: SweepRequest) -> None:
    """Raise `ValueError` for a folder with other content. A sweep may get more settings, but its base recipe and grid must stay."""
    names = request.home.names()
    if not names:
        return
    if not request.home.exists(REQUEST):
        raise ValueError(f"{request.home.uri} is not empty and holds no sweep; name a new folder")
    before, now = request.home.read_json(REQUEST), request_as_json(request)
    changed: list[str] = []
    for kind in ("recipe", "grid"):
        varied = {name: now[kind].get(name) for name in before[kind] if name in request.axes}  # their base value is unused
        changed += [f"{kind}: {difference}" for difference in list_differences(before[kind] | varied, now[kind])]
    if changed:
        raise ValueError(f"{request.home.uri} holds a sweep with another base: {'; '.join(changed)}; name a new folder for this one")
    for kind in ("source", "test"):
        if before[kind] != now[kind]:
            raise ValueError(f"{request.home.uri} holds a sweep of another {kind}: {before[kind]}, now {now[kind]}; name a new folder")


def request_as_json(request: SweepRequest) -> dict:
    """The request as JSON."""
    search = asdict(request.search) | {"vary": list(request.search.vary)}
    return {
        "source": request.source,
        "test": request.test,
        "recipe": asdict(request.recipe),
        "grid": request.grid.identity(),
        "asked": search,
        "search": request.search.search,
        "axes": {name: list(values) for name, values in request.axes.items()},
        "seeds": request.grid.seeds,
        "limits": LIMITS,
    }


def reopen(home: str, *, resources: Resources) -> SweepRequest:
    """The request of an earlier sweep in `home`; the folder may have been moved."""
    folder = Folder.at(home)
    if not folder.exists(REQUEST):
        raise ValueError(f"{folder.uri} holds no sweep (no {REQUEST}); name a folder that ray-ue sweep wrote")
    stored = folder.read_json(REQUEST)
    search_fields = stored["asked"] | {"vary": tuple(stored["asked"]["vary"])}
    return plan(
        stored["source"],
        folder.uri,
        test=stored["test"],
        recipe=Recipe(**stored["recipe"]),
        grid=Grid(**stored["grid"]),
        search=Search(**search_fields),
        resources=resources,
    )


def estimate_disk(request: SweepRequest) -> tuple[int, float, float]:
    """(images, bytes of all copies, bytes of their common and own work folders), without the weights of victims."""
    source = open_source(request.source, format=request.recipe.format, carry=request.recipe.patterns())
    recipes = request.recipes()
    tried = min(request.search.samples or len(recipes), len(recipes))
    by_size = {(recipe.resize, recipe.image_format): recipe for recipe in recipes.values()}
    estimates = {size: estimate(source, recipe=recipe) for size, recipe in by_size.items()}
    rows = next(iter(estimates.values())).rows
    copies = [estimates[recipe.resize, recipe.image_format].copy for recipe in recipes.values()]
    work = sum(views_bytes(recipes[name], rows=rows) for name in space.group_by_shared_stages(recipes))
    banks = [bank_bytes(recipe, rows=rows) for recipe in recipes.values()]
    work += sum(banks) / len(banks) * tried + 2 * max(banks) * (request.search.concurrent or tried)
    return rows, sum(copies) / len(copies) * tried, work


def recipes_by_control(recipes: Mapping[str, Recipe]) -> dict[tuple[int, int, str], Recipe]:
    """One recipe for each set of noise controls."""
    return {(recipe.levels().levels, recipe.resize, recipe.image_format): recipe for recipe in recipes.values()}


def describe(request: SweepRequest) -> str:
    """The plan of a sweep as text."""
    from ray_ue.methods.requirements import requirements_of  # imports torch

    rows, copies, work = estimate_disk(request)
    recipes, search, grid = request.recipes(), request.search, request.grid
    relabels = grid.relabel_names(classes=10)
    cells = grid_cells(grid, copies=1, relabels=relabels, patterned=[0])
    parts = Counter(place.data for place in cells)
    victims, kinds = parts["protected"] + parts["clean-part"], len(recipes_by_control(recipes))
    tried, combinations = min(search.samples or len(recipes), len(recipes)), prod(map(len, request.axes.values()))
    how = search.search + (", weak ones stopped early" if search.stop_early else "")
    auto = " (auto, for ten classes)" if grid.relabels.strip() == "auto" else ""
    axes = "; ".join(f"{name} = {', '.join(map(str, values))}" for name, values in request.axes.items())
    grouped = min(tried, sum(requirements_of(recipe).groups != "none" for recipe in recipes.values()))
    repeated = Counter({"protected": tried, "pattern": grouped, "clean-part": tried, "clean": 1, "noise": kinds})
    controls = sum(repeated[data] * parts[data] for data in ("clean", "noise", "pattern"))
    trained = [cell for cell in cells for _ in range(repeated[cell.data])]
    side = request.recipe.resize or int(median_side(open_source(request.source, format=request.recipe.format)))
    time = evaluate.victims_time(trained, grid, rows=rows, side=side, resources=request.resources)
    free = f"; {format_bytes(request.home.free_bytes())} are free" if request.home.local else ""
    shared = len(space.group_by_shared_stages(recipes))
    return "\n".join(
        [
            f"source     {request.source}  ({rows:,} images)",
            f"test       {request.test}",
            f"output     {request.home.uri}",
            f"axes       {axes}",
            f"settings   {tried} of {combinations} ({how})",
            f"shared     at most {counted(shared, 'embedding')} with clusters; equal ones are made once",
            f"victims    {tried * victims} on copies, and {controls} controls ({counted(kinds, 'budget')}, random patterns for {grouped})",
            f"grid       {', '.join(grid.victim_names())}; {', '.join(relabels)}{auto}; {', '.join(grid.defense_names())}",
            f"seeds      {grid.seeds}",
            f"time       {time}",
            f"disk       copies about {format_bytes(copies)}, work folders at most {format_bytes(work)}, and victims' weights{free}",
        ]
    )
