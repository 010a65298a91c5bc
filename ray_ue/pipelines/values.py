"""Python callers pass values where the command line takes words: this turns the values into the words of one request."""

from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, replace
from numbers import Integral, Real
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

from ray_ue.config.recipe import OR_AUTO, Recipe, Resources
from ray_ue.config.victims import Victim
from ray_ue.registry import unknown

# What a field takes, by the type of its default, in words and as types.
KINDS: dict[type, tuple[str, type]] = {
    int: ("a whole number", Integral),
    float: ("a number", Real),
    bool: ("True or False", bool),
    str: ("text", str),
}


def split_resources(given: Mapping[str, Any], resources: Resources) -> tuple[dict[str, Any], Resources]:
    """(the other keyword arguments, the resources with those that are theirs), as the command line's flags stand beside each other."""
    theirs = {name: value for name, value in given.items() if name in {entry.name for entry in fields(Resources)}}
    others = {name: value for name, value in given.items() if name not in theirs}
    return others, replace(resources, **checked(theirs, of=Resources, what="resource"))


def address(value: object, what: str) -> str:
    """A folder or an address that was given as text or as a path; a `ValueError` for anything else."""
    if isinstance(value, PathLike):
        value = fspath(value)
    if not isinstance(value, str):
        raise ValueError(f"{what} is {value!r}; name a folder or an address, as text or as a pathlib.Path")
    return value


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """The recipe of keyword arguments: `method` may be a method such as `UC(steps=400)`, `budget` a `Budget`, a list its entries.

    Raises `ValueError` for a name that is no field of `Recipe`.
    """
    words = dict(values)
    if not isinstance(words.get("method", ""), str):
        if words.get("settings"):
            raise ValueError(f"method={words['method']!r} has its settings already; leave out settings={words['settings']!r}")
        words |= method_words(words["method"])
    return Recipe(**checked(words, of=Recipe, what="recipe field"))


def checked(values: Mapping[str, Any], *, of: type, what: str) -> dict[str, Any]:
    """The words and numbers of the fields of a dataclass; `auto` may stand for a number whose 0 means that.

    Raises `ValueError` for a name that is no field and for a value of another kind. The command line checks its own words.
    """
    known_fields = {entry.name: entry for entry in fields(of)}
    if strange := sorted(values.keys() - known_fields.keys()):
        raise unknown(strange[0], tuple(known_fields), what=what)
    return {name: field_value(known_fields[name], given) for name, given in values.items()}


def field_value(entry: Field, given: object) -> str | int | float | bool:
    """What a field takes of a value: the word or the number, in the type of the field's default."""
    value, kind = word(given), type(entry.default)
    choices = get_args(entry.type) if get_origin(entry.type) is Literal else ()
    if value == "auto" and OR_AUTO in get_args(entry.type):
        return 0
    if kind is str and isinstance(value, Real) and not isinstance(value, bool):
        value = str(value)
    wanted, known = KINDS[kind]
    if not isinstance(value, known) or (kind is not bool and isinstance(value, bool)) or (choices and value not in choices):
        wanted = f"one of {', '.join(choices)}" if choices else wanted
        raise ValueError(f"{entry.name} is {given!r}; it takes {wanted}")
    return cast(Any, kind)(value)


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
    if isinstance(value, str | Real):
        return value
    if isinstance(value, Victim):
        return value.name
    if isinstance(value, Path):
        return str(value)
    return ",".join(str(word(entry)) for entry in value) if isinstance(value, Sequence) else str(value)
