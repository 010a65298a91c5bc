"""Python callers pass values where the command line takes words: this turns the values into the words of one request."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from ray_ue.config.recipe import FIELDS, Recipe, Resources
from ray_ue.config.victims import Victim
from ray_ue.registry import unknown


def split_resources(given: Mapping[str, Any], resources: Resources) -> tuple[dict[str, Any], Resources]:
    """(the other keyword arguments, the resources with those that are theirs), as the command line's flags stand beside each other."""
    theirs = {name: value for name, value in given.items() if name in {entry.name for entry in fields(Resources)}}
    others = {name: value for name, value in given.items() if name not in theirs}
    return others, replace(resources, **{name: str(value) if name == "workers" else value for name, value in theirs.items()})


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """The recipe of keyword arguments: `method` may be a method such as `UC(steps=400)`, `budget` a `Budget`, a list its entries.

    Raises `ValueError` for a name that is no field of `Recipe`.
    """
    if strange := sorted(values.keys() - set(FIELDS)):
        raise unknown(strange[0], FIELDS, what="recipe field")
    words = dict(values)
    if not isinstance(words.get("method", ""), str):
        if words.get("settings"):
            raise ValueError(f"method={words['method']!r} has its settings already; leave out settings={words['settings']!r}")
        words |= method_words(words["method"])
    return Recipe(**{name: word(value) for name, value in words.items()})


def method_words(method: object) -> dict[str, str]:
    """`method` and `settings` as the command line names them; settings with their default are left out."""
    from ray_ue.methods import METHODS  # brings torch

    name = next((name for name, kind in METHODS.items() if kind is type(method)), "")
    if not name:
        raise ValueError(f"{method!r} is no method; pass a name or a value of {', '.join(kind.__name__ for kind in METHODS.values())}")
    changed = {
        entry.name: getattr(method, entry.name) for entry in fields(cast(Any, method)) if getattr(method, entry.name) != entry.default
    }
    if comma := next((value for value in changed.values() if "," in str(value)), ""):
        raise ValueError(f"commas divide settings, so none may be in {comma!r}; move the file")
    return {"method": name, "settings": ",".join(f"{key}={value}" for key, value in changed.items())}


def word(value: Any) -> Any:
    """Numbers and booleans as they are; a list as its entries with commas; paths, budgets, victims and defenses as they are written."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Victim):
        return value.name
    if isinstance(value, Path):
        return str(value)
    return ",".join(str(word(entry)) for entry in value) if isinstance(value, Sequence) else str(value)
