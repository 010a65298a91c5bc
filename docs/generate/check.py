"""Whether a built site holds together: every link and anchor within it resolves, and no page fetches anything from elsewhere.

python -m docs.generate.check site
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

OWN = ("", "file")
FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href"), ("object", "data"), ("image", "href")}
POINTING = {
    ("canonical", "href"),
    ("prev", "href"),
    ("next", "href"),
}  # a <link> of these kinds is followed by nobody while a page is drawn


@dataclass(kw_only=True)
class Seen(HTMLParser):
    """What a page offers and what it asks for: its anchors, its (tag, attribute, address)."""

    anchors: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        kinds = found.get("rel", "").split() if tag == "link" else [tag]
        for name in ("href", "src", "data", "poster"):
            if name in found and not {(kind, name) for kind in kinds} & POINTING:
                self.asked.append((tag, name, found[name]))


def read(page: Path) -> Seen:
    seen = Seen()
    seen.feed(page.read_text(encoding="utf-8"))
    return seen


def faults(site: Path) -> Iterator[str]:
    """One line for each link that leads nowhere and each thing that a page would fetch from elsewhere."""
    pages = {page: read(page) for page in sorted(site.rglob("*.html"))}
    if not pages:
        raise ValueError(f"{site} holds no page; build the site first: make docs")
    for page, seen in pages.items():
        for tag, name, address in seen.asked:
            if fault := _fault(site, page, pages, tag=tag, name=name, address=address):
                yield f"{page.relative_to(site)}: {fault}"
    for sheet in sorted(site.rglob("*.css")):
        if "url(http" in (text := sheet.read_text(encoding="utf-8")) or "@import" in text:
            yield f"{sheet.relative_to(site)}: fetches from elsewhere"


def _fault(site: Path, page: Path, pages: dict[Path, Seen], *, tag: str, name: str, address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in OWN or parts.netloc:
        return f"fetches {address}" if (tag, name) in FETCHED and parts.scheme != "data" else ""
    here = site if parts.path.startswith("/") else page.parent
    goal = (here / unquote(parts.path).lstrip("/")).resolve() if parts.path else page
    goal = goal / "index.html" if goal.is_dir() else goal
    if not goal.is_file() or not goal.is_relative_to(site.resolve()):
        return f"{address} leads nowhere"
    anchor = unquote(parts.fragment)
    if (
        anchor
        and goal.suffix == ".html"
        and anchor not in next(seen.anchors for one, seen in pages.items() if one.resolve() == goal.resolve())
    ):
        return f"{address}: {goal.relative_to(site.resolve())} has no anchor {anchor}"
    return ""


def main(words: list[str]) -> int:
    """Exit code 1 and a line per fault, or 0 and the number of pages."""
    site = Path(words[0]).resolve()
    found = list(faults(site))
    print("\n".join(found) if found else f"site: {len(list(site.rglob('*.html')))} pages, every link and anchor within resolves")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
