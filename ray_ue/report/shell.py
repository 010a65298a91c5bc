"""The document around all sections: style, script, head, navigation. One file that opens from disk and asks no network."""

from collections.abc import Sequence
from importlib.resources import files

from ray_ue.report.html import escape, section

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
Shown = tuple[str, str, str, str]  # id, title, what to know before reading, content


def document(title: str, *, kind: str, told: str, first: str, shown: Sequence[Shown]) -> str:
    """The whole page: `kind` and `told` stand around the title, `first` names the first section for those who skip to it."""
    own = files("ray_ue.report")
    style, script = (own.joinpath(name).read_text() for name in ("page.css", "page.js"))
    links = "".join(f'<li><a href="#{name}">{escape(head)}</a></li>' for name, head, _, _ in shown)
    body = "".join(section(name, head, content, lead=lead) for name, head, lead, content in shown)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><link rel="icon" href="data:,">'
        f"<style>{style}</style></head><body>"
        f'<a class="skip" href="#{shown[0][0]}">Skip to {escape(first)}</a>{banner(title, kind=kind, told=told)}'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main>{body}</main>'
        f'<dialog id="zoom" aria-label="Enlarged pictures"></dialog><script>{script}</script></body></html>\n'
    )


def banner(title: str, *, kind: str, told: str) -> str:
    return (
        f'<header class="top"><div><p class="kind">{escape(kind)}</p><h1>{escape(title)}</h1><p>{escape(told)}</p></div>'
        '<button type="button" id="theme">Dark theme</button></header>'
    )
