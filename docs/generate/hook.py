"""What MkDocs calls while it builds the site: it adds the pages that are made from the code, and mends Markdown written for GitHub."""

from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from docs.generate import commands, equations, markup, notebooks, plugins, python

ROOT = Path(__file__).parents[2]
HERE = "docs/"
PAGES = {
    "index.md": lambda: shown("README.md"),
    "reference/cli.md": commands.page,
    "reference/plugins.md": plugins.page,
    "reference/python.md": python.page,
    "contributing.md": lambda: shown("CONTRIBUTING.md"),
    "changelog.md": lambda: shown("CHANGELOG.md"),
}
ADRS = "Decisions"  # sections of the navigation that are filled from folders
EXPERIMENTS = "Experiments"
NOTEBOOKS = "Notebooks"


def shown(name: str) -> str:
    """A page of the repository's root; its links are those of the site, where docs/ is the root."""
    text = (ROOT / name).read_text(encoding="utf-8").replace(f"]({HERE}", "](")
    for page in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = text.replace(f"]({page})", f"]({page.lower()})")
    return text


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the sections of the navigation that list a folder; one without files is left out."""
    filled = {
        ADRS: [entry(text, f"adr/{name}") for name, text in records("adr")],
        EXPERIMENTS: [entry(text, f"experiments/{name}") for name, text in reversed(records("experiments"))],
        NOTEBOOKS: [entry(text, name) for name, text, _ in books()],
    }
    assert config.nav is not None
    for section in config.nav:
        for name in filled.keys() & section.keys():
            section[name] += filled[name]
    config.nav = [section for section in config.nav if any(section.values())]
    return config


def entry(text: str, uri: str) -> dict[str, str]:
    return {markup.title(text): uri}


def records(folder: str) -> list[tuple[str, str]]:
    """(file name, text) of the numbered pages of a folder of docs/."""
    return [(path.name, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "docs" / folder).glob("0*.md"))]


def books() -> Iterator[tuple[str, str, dict[str, bytes]]]:
    """(page, its Markdown, its pictures) of each notebook."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        yield f"notebooks/{path.stem}.md", *notebooks.page(path)


@event_priority(100)  # before plug-ins that look at the files
def on_files(files: Files, config: MkDocsConfig) -> Files:
    made: dict[str, str | bytes] = {uri: make() for uri, make in PAGES.items()}
    made["adr/index.md"] = index(records("adr"))
    for uri, text, pictures in books():
        made |= {uri: text} | {f"notebooks/{name}": data for name, data in pictures.items()}
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    files.append(File.generated(config, f"assets/{equations.FONT}", abs_src_path=str(equations.font())))
    return files


def index(found: list[tuple[str, str]]) -> str:
    lines = [f"- [{markup.title(text)}]({name})" for name, text in found]
    return "# Decisions\n\nWhy things are as they are: context, choice, and what was given up.\n\n" + "\n".join(lines) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return markup.spaced(markup.to_notebook_pages(markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return equations.rendered(html, of=page.file.src_uri)


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Every page is somewhere in the navigation: one that is not would be found by nobody."""
    if lost := sorted({file.src_uri for file in files.documentation_pages()} - {page.file.src_uri for page in nav.pages}):
        raise ValueError(f"{', '.join(lost)} in docs/ are in no section of mkdocs.yml's nav; add a line for each")
    return nav
