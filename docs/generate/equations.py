"""Equations as MathML, which browsers draw without a script or a font from elsewhere. Knows HTML with TeX in it, no pages."""

import html
import re
from importlib.util import find_spec
from pathlib import Path

from latex2mathml.converter import convert

# What pymdownx.arithmatex leaves in its generic form.
INLINE = re.compile(r'<span class="arithmatex">\\\((.+?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.+?)\\\]\s*</div>', re.DOTALL)
UNKNOWN = re.compile(r"<m(?:i|text|o)>\s*(\\[A-Za-z]+)\s*<")  # a command that the converter does not know comes back as a name


FONT = "STIXTwoMath-Regular.ttf"  # STIX Two Math, SIL Open Font License 1.1: browsers draw large signs and brackets from its MATH table


def font() -> Path:
    """The font, as the package ziamath brings it."""
    found = find_spec("ziamath")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "fonts" / FONT


def rendered(text: str, *, of: str) -> str:
    """The page with its equations drawn; a `ValueError` names a command that MathML has nothing for."""

    def inline(found: re.Match[str]) -> str:
        return drawn(html.unescape(found[1]), display="inline", of=of)

    def block(found: re.Match[str]) -> str:
        return f'<div class="equation">{drawn(html.unescape(found[1]), display="block", of=of)}</div>'

    return INLINE.sub(inline, BLOCK.sub(block, text))


def drawn(tex: str, *, display: str, of: str) -> str:
    made = convert(tex.strip(), display=display)
    if lost := UNKNOWN.search(html.unescape(made)):
        raise ValueError(f"{of}: {lost[1]} in the equation {tex.strip()!r} has no form in MathML; write it in another way")
    return made
