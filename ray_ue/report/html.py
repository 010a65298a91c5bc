"""HTML: templates with automatic escaping, and the small elements that sections are made of."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from jinja2 import Environment, PackageLoader, StrictUndefined

from ray_ue.results.text import format_percent

TEMPLATES = Environment(
    loader=PackageLoader("ray_ue.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
)
TEMPLATES.filters["percent"] = format_percent


def render(template: str, **values: object) -> str:
    """A template of this package with `values`; texts are escaped, finished HTML needs the filter `safe`."""
    return TEMPLATES.get_template(template).render(values)


def attributes(values: Mapping[str, str]) -> str:
    """` name="value"` for each that is not empty."""
    return "".join(f' {name}="{escape(value)}"' for name, value in values.items() if value)


def cell(text: str, *, small: str = "", value: float = math.nan, column: str = "", kind: str = "", style: str = "") -> str:
    """A table cell; a number also has its raw `value` as an attribute, for scripts and tests."""
    raw = "" if math.isnan(value) else repr(float(value))
    inner = escape(text) + (f" <small>{escape(small)}</small>" if small else "")
    return f"<td{attributes({'data-column': column, 'data-value': raw, 'class': kind, 'style': style})}>{inner}</td>"


def heading(text: str, *, small: str = "", narrow: str = "") -> str:
    """The head cell of a row; `narrow` is shown only on screens that hide the columns with the same content."""
    suffix = f" <small>{escape(small)}</small>" if small else ""
    hint = f'<span class="narrow">{escape(narrow)}</span>' if narrow else ""
    return f'<th scope="row">{escape(text)}{suffix}{hint}</th>'


def row(cells: Iterable[str], *, kind: str = "", data: Mapping[str, str]) -> str:
    """A `<tr>` with `data-` attributes."""
    return f"<tr{attributes({'class': kind, **{f'data-{name}': value for name, value in data.items()}})}>{''.join(cells)}</tr>"


def table(head: Sequence[str], rows: Iterable[str], *, label: str, kind: str = "") -> str:
    """A table in a box that scrolls, also by keyboard; `rows` are finished `<tr>` elements."""
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
    title = f"<figcaption><strong>{escape(caption)}</strong>{f' <span>{escape(note)}</span>' if note else ''}</figcaption>"
    return f"<figure{attributes({'id': name, 'class': kind})}>{title}{body}</figure>"


def details_html(title: str, body: str, *, open: bool) -> str:
    return f"<details{' open' if open else ''}><summary>{escape(title)}</summary>{body}</details>"


def notice(what: str, how: str) -> str:
    """A line in place of a missing element."""
    return f'<p class="missing"><strong>{escape(what)}</strong> {escape(how)}</p>'
