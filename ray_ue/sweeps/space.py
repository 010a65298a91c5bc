"""The space of a sweep: which recipe fields take which values, and the recipes that follow. It knows no files and no machines."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np

from ray_ue.config.recipe import FIELDS, Recipe
from ray_ue.models.pretrained import specs
from ray_ue.random_streams import STREAMS
from ray_ue.registry import pick

Point = dict[str, str | int | float]  # one value per axis
Axes = dict[str, tuple[str | int | float, ...]]

SETTING = "settings."  # before the name of a method's own setting
FIXED = ("format", "max_rejected", "max_pixels", "settings")  # say how to read, or have an axis form of their own
# Fields that nothing before crafting reads: recipes that differ only in these share index, embedding and clusters.
LATER = (
    "budget",
    "aim",
    "steps",
    "batch",
    "learning_rate",
    "parameterization",
    "data_scope",
    "loss",
    "augment",
    "resize",
    "image_format",
)

FILES = ("settings.file", "settings.concepts")  # a test holds this equal to the methods' own lists


def parse(texts: Sequence[str]) -> Axes:
    """Read `clusters=5,10,20` and `settings.zeta=0.1,0.5`; values get their field's type."""
    found: Axes = {}
    for text in texts:
        name, equals, values = text.partition("=")
        axis = name.strip().replace("-", "_")
        words = [word.strip() for word in values.split(",") if word.strip()]
        if not equals or not words:
            raise ValueError(f"--vary is a field and its values, such as clusters=5,10,20; got {text!r}")
        if not axis.startswith(SETTING):
            pick({field: field for field in FIELDS if field not in FIXED}, axis, what="recipe field that can vary")
        if axis in found:
            raise ValueError(f"--vary names {axis} twice; write all its values after one {axis}=")
        found[axis] = tuple(dict.fromkeys(_typed(axis, word) for word in words))
    return found


def _typed(axis: str, word: str) -> str | int | float:
    kind = get_type_hints(Recipe).get(axis)  # without what the command line adds to a type
    if (names := get_args(kind)) and word not in names:
        raise ValueError(f"--vary {axis} takes {', '.join(names)}, got {word!r}")
    if axis == "surrogate":
        return specs.rooted(word)
    if axis in FILES:
        return str(Path(word).expanduser().absolute())
    if kind not in (int, float):
        return word
    try:
        found = int(word) if kind is int else float(word)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"--vary {axis} takes {'whole numbers' if kind is int else 'numbers'}, got {word!r}")
    return found


def points(axes: Axes) -> list[Point]:
    """Every combination, the last axis fastest."""
    return [dict(zip(axes, values)) for values in product(*axes.values())]


def drawn(found: list[Point], *, samples: int, seed: int) -> list[Point]:
    """`samples` different ones of them at random, in their order; all where that many are not there."""
    chosen = np.random.default_rng([seed, STREAMS["sweep/settings"]]).permutation(len(found))[:samples]
    return [found[place] for place in sorted(chosen.tolist())]


def recipe_at(point: Point, *, base: Recipe) -> Recipe:
    """`base` with the values of a point."""
    plain = {name: value for name, value in point.items() if not name.startswith(SETTING)}
    own = {name.removeprefix(SETTING): str(value) for name, value in point.items() if name.startswith(SETTING)}
    kept = [part for part in base.settings.split(",") if part.strip() and part.partition("=")[0].strip() not in own]
    settings = ",".join([*kept, *(f"{name}={value}" for name, value in own.items())])
    return replace(base, settings=settings, **plain)  # type: ignore[arg-type]


def name_of(point: Point) -> str:
    """A name that is also a file name: `clusters-5_budget-8`, with a hash where characters had to go."""
    told = "_".join(f"{name}-{value}" for name, value in point.items())
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", told)[:80]
    return plain if plain == told else f"{plain}-{hashlib.sha256(told.encode()).hexdigest()[:6]}"


def named(found: Sequence[Point], *, base: Recipe) -> dict[str, Recipe]:
    """The recipe of every point by its name, checked; a `ValueError` for two that are the same recipe."""
    recipes: dict[str, Recipe] = {}
    seen: dict[str, str] = {}
    for point in found:
        name, recipe = name_of(point), recipe_at(point, base=base)
        recipe.check()
        same = json.dumps(recipe.values(FIELDS), sort_keys=True, default=str)
        if same in seen:
            raise ValueError(f"{seen[same]} and {name} are one recipe; leave one of the two values out of --vary")
        recipes[name], seen[same] = recipe, name
    return recipes


def prefixes(recipes: Mapping[str, Recipe]) -> dict[str, list[str]]:
    """Recipes that need the same embedding and clustering: the name of the first, and the names of all."""
    early = tuple(name for name in FIELDS if name not in LATER)
    found: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        found.setdefault(json.dumps(recipe.values(early), sort_keys=True, default=str), []).append(name)
    return {names[0]: names for names in found.values()}
