"""A sweep as it is asked for: a checked request and its plan in words. It starts nothing and imports no Ray."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Annotated, Literal

from tyro.conf import UseAppendAction

from ray_ue.config.grid import Grid, grid_cells, split_list
from ray_ue.config.recipe import Recipe, Resources, list_differences
from ray_ue.pipelines import evaluate, protect
from ray_ue.pipelines.evaluate import absolute
from ray_ue.pipelines.planning import Estimate, bank_bytes, estimate, views_bytes
from ray_ue.registry import unknown
from ray_ue.results.evaluation import UNDEFENDED
from ray_ue.sources import open_source
from ray_ue.storage.artifacts import Folder
from ray_ue.sweeps import space

REQUEST = "sweep.json"
COPIES, WORK, CELLS, TRIALS, CONTROLS = "copies", "work", "evaluation", "trials", "controls"
SHARED = f"../../{WORK}"  # from the work folder of a copy
LOGGERS = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}
MOST = 2_000  # settings: every one is checked before the first starts
LIMITS = [
    "The worst case is over the victims, relabels and defenses of this sweep alone: an exploiter may find better ones.",
    "One copy per setting: the spread is over victims, not over crafting seeds.",
    "The best of many settings looks better than it is, by chance: evaluate the chosen one again, with more seeds and defenses.",
]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which settings a sweep tries, and how."""

    vary: Annotated[tuple[str, ...], UseAppendAction] = ()
    """A recipe field and its values: --vary clusters=5,10,20 --vary budget=8,16; settings.NAME varies a method's own setting."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """All combinations, a random part of them, or those that Optuna's sampler picks as results come in."""
    samples: int = 0
    """Settings that random and optuna try."""
    stop_early: bool = False
    """Stop settings that protect less than the others (ASHA) after some of their seeds."""
    concurrent: int = 0
    """Settings tried side by side; 0 takes one per GPU, or one per node without GPUs."""
    loggers: str = ""
    """Also log to tensorboard or mlflow, comma-separated, in OUTPUT/ray-tune or OUTPUT/mlruns."""

    def check(self) -> None:
        """Refuse what cannot work; the error says what would have worked."""
        if not self.vary:
            raise ValueError("--vary is missing: name a field and its values, such as --vary clusters=5,10,20 --vary budget=8,16")
        space.parse(self.vary)
        if (self.search == "grid") != (self.samples == 0):
            raise ValueError(
                "--search grid tries every combination; leave out --samples, or use --search random"
                if self.search == "grid"
                else f"--search {self.search} needs to know how many settings to try: --samples 20"
            )
        if self.samples < 0 or self.concurrent < 0:
            raise ValueError(f"--samples and --concurrent are 0 or more, got {self.samples} and {self.concurrent}")
        for name in split_list(self.loggers):
            refuse_logger(name)
        if self.search == "optuna":
            refuse_absent("optuna", asked="--search optuna")


def refuse_logger(name: str) -> None:
    if name not in LOGGERS:
        raise unknown(name, tuple(LOGGERS), what="logger")
    refuse_absent(LOGGERS[name], asked=f"--loggers {name}")


def refuse_absent(package: str, *, asked: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ValueError(f"{asked} needs the package {package}, which is not installed; pip install {package}")


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """A checked request: everything that can be found wrong without reading images has been."""

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
        return space.named(self.points(), base=self.recipe)

    def points(self) -> list[space.Point]:
        found = space.points(self.axes)
        chosen = self.search.search == "random"
        return space.drawn(found, samples=self.search.samples, seed=self.recipe.seed) if chosen else found

    def copy(self, name: str) -> str:
        return self.home.child(COPIES).child(name).uri


def plan(source: str, output: str, *, test: str, recipe: Recipe, grid: Grid, search: Search, resources: Resources) -> SweepRequest:
    """Check a request before any long work; a `ValueError` says what was got and what would have worked."""
    for given, what in ((source, "a source of images"), (output, "a folder for the sweep"), (test, "--test, clean images never published")):
        if not given.strip():
            raise ValueError(
                f"{what} is missing; write for example: ray-ue sweep photos/ photos-sweep/ --test photos-test/ --vary budget=8,16"
            )
    search.check()
    if "mlflow" in split_list(search.loggers) and not Folder.at(output).local:
        raise ValueError(f"--loggers mlflow keeps its runs in a local folder, and {output} is none; use tensorboard, or sweep into one")
    resources.check()
    grid = grid.with_absolute_paths()
    grid.check()
    evaluate.refuse_wrong_names(grid)
    refuse_silent(grid, search)
    if grid.purified_folders():
        raise ValueError("a sweep makes its copies itself, so there are no --evaluate.purified ones; evaluate the chosen copy by itself")
    recipe, home = protect.rooted(recipe), Folder.at(output)
    opened_source, opened_test = (open_source(uri, format=recipe.format) for uri in (source, test))
    made = SweepRequest(
        source=absolute(source),
        test=absolute(test),
        home=home,
        recipe=recipe,
        grid=grid,
        search=search,
        resources=resources,
        axes=space.parse(search.vary),
        digests=(opened_source.digest(), opened_test.digest()),
    )
    if (count := prod(map(len, made.axes.values()))) > MOST:
        raise ValueError(f"--vary gives {count:,} settings, more than {MOST:,}; name fewer values")
    if "resize" in made.axes and not grid.image_size:
        raise ValueError("--vary resize changes what victims see; name one size for all of them with --evaluate.image-size")
    evaluate.refuse_inside(home, (made.source, made.test))
    refuse_other(made)
    for name, one in made.recipes().items():
        protect.plan(opened_source, made.copy(name), recipe=one, resources=resources, shared=SHARED)
    return made


def refuse_silent(grid: Grid, search: Search) -> None:
    """Refuse grids from which no worst case follows."""
    if UNDEFENDED not in grid.defense_names():
        raise ValueError(f"--evaluate.defenses {grid.defenses} lacks none: a worst case is told against victims without a defense")
    if all(name.startswith("random") for name in grid.relabel_names(classes=10)):
        raise ValueError(f"--evaluate.relabels {grid.relabels} is a sanity check that no claim rests on; add identity or pseudo:10")
    if search.stop_early and grid.seeds < 2:
        raise ValueError("--stop-early compares settings after each seed; ask for --evaluate.seeds 2 or more")


def refuse_other(made: SweepRequest) -> None:
    """Refuse a folder that holds something else than this sweep. More settings may join a sweep; what they share must stay."""
    names = made.home.names()
    if not names:
        return
    if not made.home.exists(REQUEST):
        raise ValueError(f"{made.home.uri} is not empty and holds no sweep; name a new folder")
    before, now = made.home.read_json(REQUEST), request(made)
    if changed := [
        f"{kind}: {difference}"
        for kind in ("recipe", "grid")
        for difference in list_differences(_plain(before[kind], kind, made), now[kind])
    ]:
        raise ValueError(f"{made.home.uri} holds a sweep with another base: {'; '.join(changed)}; name a new folder for this one")
    for kind in ("source", "test"):
        if before[kind] != now[kind]:
            raise ValueError(f"{made.home.uri} holds a sweep of another {kind}: {before[kind]}, now {now[kind]}; name a new folder")


def _plain(before: dict, kind: str, made: SweepRequest) -> dict:
    """Without the fields that now vary: their base value is never used."""
    now = request(made)[kind]
    return {name: now.get(name) if name in made.axes else value for name, value in before.items()}


def request(made: SweepRequest) -> dict:
    """What was asked, as JSON."""
    search = asdict(made.search) | {"vary": list(made.search.vary)}
    return {
        "source": made.source,
        "test": made.test,
        "recipe": asdict(made.recipe),
        "grid": asdict(made.grid),
        "asked": search,
        "search": made.search.search,
        "axes": {name: list(values) for name, values in made.axes.items()},
        "seeds": made.grid.seeds,
        "limits": LIMITS,
    }


def reopen(home: str, *, resources: Resources) -> SweepRequest:
    """The request that a sweep in `home` was started with; the folder may have been moved."""
    folder = Folder.at(home)
    if not folder.exists(REQUEST):
        raise ValueError(f"{folder.uri} holds no sweep (no {REQUEST}); name a folder that ray-ue sweep wrote")
    told = folder.read_json(REQUEST)
    asked = told["asked"] | {"vary": tuple(told["asked"]["vary"])}
    return plan(
        told["source"],
        folder.uri,
        test=told["test"],
        recipe=Recipe(**told["recipe"]),
        grid=Grid(**told["grid"]),
        search=Search(**asked),
        resources=resources,
    )


def room(made: SweepRequest) -> tuple[int, float, float]:
    """(images, bytes of all the copies, bytes of the work folder that they share and of their own). Victims' weights are not in it."""
    source = open_source(made.source, format=made.recipe.format)
    recipes = made.recipes()
    tried = min(made.search.samples or len(recipes), len(recipes))
    alike: dict[tuple, Estimate] = {}
    for recipe in recipes.values():
        if (key := (recipe.resize, recipe.image_format)) not in alike:
            alike[key] = estimate(source, recipe=recipe)
    rows = next(iter(alike.values())).rows
    copies = [alike[recipe.resize, recipe.image_format].copy for recipe in recipes.values()]
    work = sum(views_bytes(recipes[name], rows=rows) for name in space.prefixes(recipes))
    banks = [bank_bytes(recipe, rows=rows) for recipe in recipes.values()]
    work += sum(banks) / len(banks) * tried + 2 * max(banks) * (made.search.concurrent or tried)
    return rows, sum(copies) / len(copies) * tried, work


def alike(recipes: Mapping[str, Recipe]) -> dict[tuple[int, int, str], Recipe]:
    """One recipe of each kind that has noise controls of its own."""
    return {(recipe.levels().levels, recipe.resize, recipe.image_format): recipe for recipe in recipes.values()}


def describe(made: SweepRequest) -> str:
    """The plan of a sweep, for people."""
    rows, copies, work = room(made)
    found, search, grid = made.recipes(), made.search, made.grid
    relabels = grid.relabel_names(classes=10)
    parts = Counter(place.data for place in grid_cells(grid, copies=1, relabels=relabels))
    mine, kinds = parts["protected"] + parts["clean-part"], len(alike(found))
    tried, every = min(search.samples or len(found), len(found)), prod(map(len, made.axes.values()))
    how = search.search + (", weak ones stopped early" if search.stop_early else "")
    auto = " (auto, for ten classes)" if grid.relabels.strip() == "auto" else ""
    axes = "; ".join(f"{name} = {', '.join(map(str, values))}" for name, values in made.axes.items())
    free = f"; {made.home.free_bytes() / 2**30:.1f} GiB are free" if made.home.local else ""
    return "\n".join(
        [
            f"source     {made.source}  ({rows:,} images)",
            f"test       {made.test}",
            f"output     {made.home.uri}",
            f"axes       {axes}",
            f"settings   {tried} of {every} ({how})",
            f"shared     {len(space.prefixes(found))} embedding(s) and clustering(s) for all of them",
            f"victims    {tried * mine} on copies, and {parts['clean'] + kinds * parts['noise']} controls ({kinds} budget(s))",
            f"grid       {', '.join(grid.victim_names())}; {', '.join(relabels)}{auto}; {', '.join(grid.defense_names())}",
            f"seeds      {grid.seeds}",
            f"disk       copies about {copies / 2**30:.2f} GiB, work folders at most {work / 2**30:.2f} GiB, and victims' weights{free}",
        ]
    )
