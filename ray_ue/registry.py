"""Plug-ins by name: plain dicts, and the errors for names that are not in them."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def pick(table: Mapping[str, T], name: str, *, what: str) -> T:
    """The entry called `name`; a `ValueError` names the nearest one and lists what there is."""
    if name not in table:
        raise unknown(name, sorted(table), what=what)
    return table[name]


def unknown(name: str, names: Collection[str], *, what: str) -> ValueError:
    """What to raise for a `name` that is none of `names`."""
    near = [other for other in names if other.casefold() == name.casefold()] or get_close_matches(name, names, n=1)
    return ValueError(f"no {what} is called {name!r}; {f'did you mean {near[0]!r}? ' if near else ''}there are {', '.join(names)}")
