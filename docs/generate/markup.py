"""GitHub's Markdown for Python-Markdown, which wants an empty line before a list. Knows text, no pages."""

import re

ITEM = re.compile(r"^( *)([-*+]|\d+\.) +\S")
FENCE = re.compile(r"^ *(```+|~~~+)")
NOTEBOOK = re.compile(r"\]\((?:\.\./)?((?:\.\./)*notebooks/[\w-]+)\.ipynb\)")


def title(text: str) -> str:
    """The first heading of a page."""
    if not (found := re.search(r"^# +(.+)$", text, re.MULTILINE)):
        raise ValueError(f"a page needs a first heading such as `# Sweeps`, got {text[:60]!r}")
    return found[1].strip()


def to_notebook_pages(text: str) -> str:
    """Links to notebooks as links to their pages, which are in docs/ on the site and beside it in the repository."""
    return NOTEBOOK.sub(r"](\1.md)", text)


def spaced(text: str) -> str:
    """With an empty line before each list that follows a line of text; what stands between fences is left alone."""
    lines: list[str] = []
    fence = ""
    for line in text.splitlines():
        if mark := FENCE.match(line):
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        elif not fence and ITEM.match(line) and lines and _is_text(lines):
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _is_text(lines: list[str]) -> bool:
    """Whether the last line ends a paragraph that is no list's own."""
    if not lines[-1].strip() or ITEM.match(lines[-1]) or FENCE.match(lines[-1]):
        return False
    for line in reversed(lines):
        if not line.strip() or FENCE.match(line):
            return True
        if ITEM.match(line):
            return False
    return True
