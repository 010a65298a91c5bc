"""A matplotlib figure as inline SVG that follows the theme of the page.

Colours are drawn as markers and replaced by the page's CSS variables, so that one drawing serves the light and the dark theme.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from importlib.resources import as_file, files
from io import BytesIO

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GRID = "#010101", "#010102"
COLORS = {"protected": "#010103", "clean": "#010104", "noise": "#010105", "part": "#010106", "pattern": "#010107"}
SLOTS = tuple(f"#01020{number:x}" for number in range(10))  # the most hues that people can distinguish
THEME = {INK: "currentColor", GRID: "var(--grid)"}
THEME |= {mark: f"var(--{name})" for name, mark in COLORS.items()} | {mark: f"var(--slot-{number})" for number, mark in enumerate(SLOTS)}
LEFT, TOP, TITLE = 0.56, 0.08, 0.28  # inches
STYLE = files("ray_ue.report").joinpath("templates", "charts.mplstyle")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure of the page; `name` is its id, and `svg` is empty if there was nothing to draw."""

    name: str
    caption: str
    note: str = ""
    kind: str = ""
    svg: str = ""

    def drawn(self, draw: Callable[[list[Axes]], None], *, label: str, size: tuple[float, float], columns: int = 1) -> "Chart":
        """With what `draw` draws on `columns` axes with shared scales; `size` is in inches, `label` says the same in words."""
        return replace(self, svg=draw_svg(draw, name=self.name, label=label, size=size, columns=columns))


def draw_svg(draw: Callable[[list[Axes]], None], *, name: str, label: str, size: tuple[float, float], columns: int) -> str:
    """The SVG of what `draw` draws; `name` makes the ids unique on the page."""
    out = BytesIO()
    with as_file(STYLE) as style, rc_context(fname=style):
        figure = Figure(figsize=size)
        axes = figure.subplots(1, columns, sharex=True, sharey=True, squeeze=False)
        width, height = size  # fixed margins, as computing them for every chart would double the time
        figure.subplots_adjust(
            left=LEFT / width, right=1 - 0.12 / width, bottom=0.46 / height, top=1 - (TITLE if columns > 1 else TOP) / height, wspace=0.06
        )
        draw(list(axes[0]))
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return inline_svg(out.getvalue().decode(), name=name, label=label)


def inline_svg(text: str, *, name: str, label: str) -> str:
    """The `<svg>` element alone: without header and name spaces, with ids only where used, and with the colours of the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL).replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    box = re.search(r'viewBox="[^"]+"', text)
    assert box, "matplotlib writes a viewBox"
    head = f'<svg {box[0]} role="img" aria-labelledby="{name}-title" preserveAspectRatio="xMidYMid meet">'
    title = f'<title id="{name}-title">{escape(label)}</title>'
    text = head + title + text[text.index(">") + 1 :]
    for mark, color in THEME.items():
        text = text.replace(mark, color)
    return re.sub(r"font: ([^;]*?)px [^;\"]*", r"font-size: \1px", re.sub(r">\s+<", "><", text)).strip()
