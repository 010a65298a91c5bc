"""Pieces of HTML as strings: escaped text, tables that scroll in their own box, figures. It knows the page's language, not its content."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape


def attributes(values: Mapping[str, str]) -> str:
    """` name="value"` for each that is not empty."""
    return "".join(f' {name}="{escape(value)}"' for name, value in values.items() if value)


def cell(text: str, *, small: str = "", value: float = math.nan, column: str = "", kind: str = "", style: str = "") -> str:
    """A table cell; a number also carries its raw `value`, so that a script (or a test) need not parse what people read."""
    known = "" if math.isnan(value) else repr(float(value))
    inner = escape(text) + (f" <small>{escape(small)}</small>" if small else "")
    return f"<td{attributes({'data-column': column, 'data-value': known, 'class': kind, 'style': style})}>{inner}</td>"


def heading(text: str, *, small: str = "", narrow: str = "") -> str:
    """The cell that names its row; `narrow` is shown only where the screen is too narrow for the columns that say the same."""
    more = f" <small>{escape(small)}</small>" if small else ""
    under = f'<span class="narrow">{escape(narrow)}</span>' if narrow else ""
    return f'<th scope="row">{escape(text)}{more}{under}</th>'


def row(cells: Iterable[str], *, kind: str = "", data: Mapping[str, str]) -> str:
    """A `<tr>` with `data-` attributes."""
    return f"<tr{attributes({'class': kind, **{f'data-{name}': value for name, value in data.items()}})}>{''.join(cells)}</tr>"


def table(head: Sequence[str], rows: Iterable[str], *, label: str, kind: str = "") -> str:
    """`rows` are finished `<tr>`s; the box scrolls, and can be scrolled by keyboard."""
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table{attributes({"class": kind})}>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values."""
    return f'<dl class="facts">{"".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)}</dl>'


def figure(name: str, body: str, *, caption: str, note: str = "", kind: str = "") -> str:
    """`body` is finished markup; `name` is the id."""
    said = f"<figcaption><strong>{escape(caption)}</strong>{f' <span>{escape(note)}</span>' if note else ''}</figcaption>"
    return f"<figure{attributes({'id': name, 'class': kind})}>{said}{body}</figure>"


def fold(title: str, body: str, *, open: bool) -> str:
    return f"<details{' open' if open else ''}><summary>{escape(title)}</summary>{body}</details>"


def missing(what: str, how: str) -> str:
    """One line for a piece that is not there."""
    return f'<p class="missing"><strong>{escape(what)}</strong> {escape(how)}</p>'


def section(name: str, title: str, body: str, *, lead: str) -> str:
    told = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    head = f'<h2 id="{escape(name)}-title">{escape(title)}</h2>'
    return f'<section id="{escape(name)}" aria-labelledby="{escape(name)}-title">{head}{told}{body}</section>'
