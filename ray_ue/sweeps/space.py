"""The space of a sweep: axes with their values, points, and the recipe of each point."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import get_args, get_type_hints

import numpy as np

from ray_ue.config.recipe import FIELDS, OR_AUTO, Recipe, read_number
from ray_ue.models.pretrained import specs
from ray_ue.random_streams import STREAMS
from ray_ue.registry import pick
from ray_ue.storage.addresses import local_path

Point = dict[str, str | int | float]  # one value per axis
Axes = dict[str, tuple[str | int | float, ...]]

SETTING = "settings."  # prefix of the name of a method's setting
FIXED = ("format", "max_rejected", "max_pixels", "settings", "carry", "strip")  # describe the reading, or have their own form of an axis
# Only crafting and later stages read these fields: recipes that differ only in them share index, embeddings and clusters.
CRAFTING_FIELDS = (
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

FILES = ("settings.file", "settings.concepts")  # a test compares this with the lists of the methods


def parse_axes(texts: Sequence[str]) -> Axes:
    """Parse `clusters=5,10,20` and `settings.zeta=0.1,0.5`; values get the type of their field."""
    axes: Axes = {}
    for text in texts:
        name, equals, values = text.partition("=")
        axis = name.strip().replace("-", "_")
        words = [word.strip() for word in values.split(",") if word.strip()]
        if not equals or not words:
            raise ValueError(f"--vary is a field and its values, such as clusters=5,10,20; got {text!r}")
        if not axis.startswith(SETTING):
            pick({field: field for field in FIELDS if field not in FIXED}, axis, what="recipe field that can vary")
        if axis in axes:
            raise ValueError(f"--vary names {axis} twice; write all its values after one {axis}=")
        axes[axis] = tuple(dict.fromkeys(_typed(axis, word) for word in words))
    return axes


def _typed(axis: str, word: str) -> str | int | float:
    kind = get_type_hints(Recipe).get(axis)  # without the annotations for the command line
    if (names := get_args(kind)) and word not in names:
        raise ValueError(f"--vary {axis} takes {', '.join(names)}, got {word!r}")
    if axis == "surrogate":
        return specs.rooted(word)
    if axis in FILES:
        return str(local_path(word))
    if kind not in (int, float):
        return word
    if word == "auto" and OR_AUTO in getattr(get_type_hints(Recipe, include_extras=True)[axis], "__metadata__", ()):
        return read_number(word)
    try:
        number = int(word) if kind is int else float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"--vary {axis} takes {'whole numbers' if kind is int else 'numbers'}, got {word!r}")
    return number


def list_points(axes: Axes) -> list[Point]:
    """Every combination; the last axis varies fastest."""
    return [dict(zip(axes, values)) for values in product(*axes.values())]


def draw_points(points: list[Point], *, samples: int, seed: int) -> list[Point]:
    """`samples` random points, in their order; all points if there are fewer."""
    chosen = np.random.default_rng([seed, STREAMS["sweep/settings"]]).permutation(len(points))[:samples]
    return [points[place] for place in sorted(chosen.tolist())]


def recipe_at(point: Point, *, base: Recipe) -> Recipe:
    """`base` with the values of a point."""
    plain = {name: value for name, value in point.items() if not name.startswith(SETTING)}
    own = {name.removeprefix(SETTING): str(value) for name, value in point.items() if name.startswith(SETTING)}
    base_settings = [part for part in base.settings.split(",") if part.strip() and part.partition("=")[0].strip() not in own]
    settings = ",".join([*base_settings, *(f"{name}={value}" for name, value in own.items())])
    return replace(base, settings=settings, **plain)  # type: ignore[arg-type]


def point_name(point: Point) -> str:
    """A name for files: `clusters-5_budget-8`, with a hash if characters had to be replaced."""
    full_name = "_".join(f"{name}-{value}" for name, value in point.items())
    file_name = re.sub(r"[^A-Za-z0-9._-]", "-", full_name)[:80]
    return file_name if file_name == full_name else f"{file_name}-{hashlib.sha256(full_name.encode()).hexdigest()[:6]}"


def recipes_by_name(points: Sequence[Point], *, base: Recipe) -> dict[str, Recipe]:
    """The checked recipe of every point by its name; a `ValueError` if two points give the same recipe."""
    recipes: dict[str, Recipe] = {}
    name_of_recipe: dict[str, str] = {}
    for point in points:
        name, recipe = point_name(point), recipe_at(point, base=base)
        recipe.check()
        identity = json.dumps(recipe.values(FIELDS), sort_keys=True, default=str)
        if identity in name_of_recipe:
            raise ValueError(f"{name_of_recipe[identity]} and {name} give the same recipe; remove one of the two values from --vary")
        recipes[name], name_of_recipe[identity] = recipe, name
    return recipes


def group_by_shared_stages(recipes: Mapping[str, Recipe]) -> dict[str, list[str]]:
    """Recipes with the same embedding and clustering: the name of the first, and the names of all."""
    early = tuple(name for name in FIELDS if name not in CRAFTING_FIELDS)
    groups: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        groups.setdefault(json.dumps(recipe.values(early), sort_keys=True, default=str), []).append(name)
    return {names[0]: names for names in groups.values()}
