"""The reference of the command line, from its verbs and the values that hold their flags. It runs no verb."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from ray_ue.cli import commands
from ray_ue.config.recipe import OR_AUTO

MADE = "<!-- Made from the code by docs/generate; a change here is lost. -->"


@dataclass(frozen=True, kw_only=True)
class Flag:
    """`names` are what is written on the command line (a capital word for what has no dashes), `of` the value whose field it is."""

    names: tuple[str, ...]
    type: str
    default: str
    about: str
    of: str


def flags(kind: type, *, prefix: str = "") -> Iterator[Flag]:
    """The flags of a value in the order of its fields; those of a value inside it carry its name, unless they are asked not to."""
    hints, texts = get_type_hints(kind, include_extras=True), docstrings(kind)
    for field in fields(kind):
        plain, marks = _plain(hints[field.name])
        if is_dataclass(plain):
            inner = "" if OmitArgPrefixes in marks else f"{field.name}."
            yield from flags(cast(type, plain), prefix=prefix + inner)
            continue
        word = field.name.replace("_", "-")
        more: list[Any] = [mark for mark in marks if isinstance(mark, type(arg()))]
        if Positional in marks:
            called = next((mark.metavar for mark in more if mark.metavar), field.name.upper())
            names: tuple[str, ...] = (called + (" …" if get_origin(plain) is tuple else ""),)
        elif plain is bool:
            names = (f"--{prefix}{word}", f"--{prefix}no-{word}")
        else:
            names = (f"--{prefix}{word}", *(f"--{prefix}{alias.removeprefix('--')}" for mark in more for alias in mark.aliases or ()))
        auto = OR_AUTO in marks
        again = ", may be given again" if UseAppendAction in marks else ""
        yield Flag(
            names=names,
            type=told(plain) + (" or `auto`" if auto else again),
            default="`auto`" if auto and not field.default else _default(field),
            about=texts.get(field.name, ""),
            of=kind.__name__,
        )


def _plain(hint: object) -> tuple[Any, tuple[object, ...]]:
    return (get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())


def told(hint: Any) -> str:
    """A type in a word or its choices."""
    if get_origin(hint) is Literal:
        return " \\| ".join(f"`{choice}`" for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"{told(get_args(hint)[0])}, one or more"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(told(part) for part in get_args(hint))
    words = {str: "text", int: "whole number", float: "number", bool: "yes or no", type(None): "nothing"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def _default(field: Any) -> str:
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    if value is MISSING:
        return "needed"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`" if value not in ("", ()) else "empty"


@cache
def docstrings(kind: type) -> dict[str, str]:
    """The text under each field of a class and of those it extends."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0] if one.__module__.startswith("ray_ue") else None
        lines = body.body if isinstance(body, ast.ClassDef) else []
        for line, below in pairwise(lines):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(below, ast.Expr):
                found[line.target.id] = str(ast.literal_eval(below.value))
    return found


def page() -> str:
    """All verbs with their flags."""
    parts = [
        f"{MADE}\n\n# Command line",
        f"```\n{commands.usage()}\n```",
        "The Python functions take the same names with `_` for `-`: [Python](python.md). "
        "Exit codes: 0, 1 (a copy is not as it should be), 2 (what was asked cannot work; one line says why), 130 (Ctrl+C).",
    ]
    for name, verb in commands.COMMANDS.items():
        parts.append(f"## {name}\n\n{escaped(verb.what[0].upper() + verb.what[1:])}.\n\n```\n{verb.example}\n```")
        found = list(flags(verb.kind))
        if not found:
            parts.append("It has no flags.")
        for of in dict.fromkeys(flag.of for flag in found):
            parts.append(_table([flag for flag in found if flag.of == of], title=GROUPS.get(of, "")))
    return "\n\n".join(parts) + "\n"


GROUPS = {
    "Recipe": "**The recipe**: what shapes the copy.",
    "Grid": "**The grid**: which victims are trained.",
    "Search": "**The search**: which settings are tried.",
    "Measurement": "**The measurement**: what is estimated.",
    "Resources": "**Resources**: what a run may use; they change no result's name.",
}


def _table(found: list[Flag], *, title: str) -> str:
    rows = [
        f"| {'<br>'.join(f'`{name}`' for name in flag.names)} | {flag.type} | {flag.default} | {escaped(flag.about)} |" for flag in found
    ]
    return "\n".join([*([title, ""] if title else []), "| flag | takes | default | |", "|---|---|---|---|", *rows])


def escaped(text: str) -> str:
    """For a cell of a table: no bars, no tags, no stray emphasis."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
