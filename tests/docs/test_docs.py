"""The documentation says what the code does: its references are complete, its links lead somewhere, its commands can be given."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from docs.generate import check, commands, equations, hook, markup, notebooks, plugins
from ray_ue.cli import main
from ray_ue.cli.arguments import EvaluateArguments, ProtectArguments
from ray_ue.cli.commands import COMMANDS, parse_arguments
from ray_ue.config import victims
from ray_ue.config.schedules import SCHEDULES
from ray_ue.exploiter import relabels
from ray_ue.exploiter.defenses import registry
from ray_ue.information import ESTIMATORS
from ray_ue.methods import METHODS, build
from ray_ue.objectives.aims import AIMS
from ray_ue.objectives.anchor import LOSSES
from ray_ue.sources.opening import FORMATS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = [METHODS, registry.DEFENSES, relabels.RELABELS, ESTIMATORS, AIMS, LOSSES, FORMATS, SCHEDULES, dict.fromkeys(victims.NETS)]


def fenced(text: str) -> Iterator[str]:
    """What stands between fences, lines that end in a backslash joined."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield block.replace("\\\n", " ")


def quoted() -> list[tuple[str, str]]:
    """(page, command) of every `ray-ue VERB …` that a reader could copy; `…` and VERB stand for something.

    Experiments are left out: their commands are those of the commit that they name.
    """
    found = []
    for page in [page for page in PAGES if page.parent.name != "experiments"]:
        for line in "\n".join(fenced(page.read_text(encoding="utf-8"))).splitlines():
            if (at := re.match(r"\s*(?:\.venv/bin/)?ray-ue ([a-z].*)", line)) and "…" not in line:
                found.append((page.relative_to(ROOT).as_posix(), at[1]))
    return found


@pytest.mark.parametrize(("page", "line"), quoted())
def test_a_command_that_a_page_quotes_can_be_given(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[0] in COMMANDS, f"{page}: {line}"
    asked = parse_arguments(words[0], words[1:])
    if isinstance(asked, ProtectArguments):
        build(asked.recipe.method, asdict(asked.recipe))
    if isinstance(asked, EvaluateArguments):
        for name in asked.grid.victim_names():
            victims.parse_victim(name)
        for name in asked.grid.defense_names():
            registry.parse(name)
        for name in asked.grid.relabel_names(classes=10):
            relabels.parse(name)


def test_the_pages_quote_commands() -> None:
    verbs = {line.split()[0] for _, line in quoted()}
    assert {"protect", "verify", "evaluate", "report", "sweep", "measure", "perturbations", "methods"} <= verbs


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    """The section of each verb."""
    parts = re.split(r"^## (\S+)$", commands.page(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_reference_has_every_flag_that_the_help_shows(
    verb: str, reference: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main.main([verb, "--help"])
    told = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    flags = {word for line in told.splitlines() for word in re.findall(r"^[│| ]*((?:-h, )?--[a-z][\w.-]*)", line)} - {"-h, --help"}
    assert not (missing := {flag for flag in flags if f"`{flag}`" not in reference[verb]}), missing
    assert len(flags) > 2 or verb in ("methods", "report", "perturbations", "doctor", "completion")


def test_the_reference_tells_type_default_and_text_of_a_flag(reference: dict[str, str]) -> None:
    assert "| `--restarts` | whole number | `5` | k-means runs" in reference["protect"]
    assert "| `--clusters` | whole number or `auto` | `auto` | Number of k-means clusters; auto" in reference["protect"]
    assert "| `--groups` | `kmeans` \\| `label` | `kmeans` | How images are grouped" in reference["craft"]
    assert "`--evaluate.victims`" in reference["sweep"]
    assert "| `--victims`" not in reference["sweep"]
    assert "`ray-ue craft photos/" not in reference["craft"]
    assert "ray-ue craft photos/ photos-protected/" in reference["craft"]
    assert "| `--vary` | text, one or more, may be given again | empty |" in reference["sweep"]


def test_every_plug_in_is_in_a_table() -> None:
    told = plugins.page()
    assert not (missing := [name for names in NAMED for name in names if f"| `{name}` |" not in told and f"| [`{name}`](" not in told]), (
        missing
    )
    for name, method in METHODS.items():
        section = told.partition(f"### {name} {{#method-{name}}}")[2].partition("\n### ")[0]
        assert all(f"| `{key}` |" in section for key in plugins.settings_of(method)), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    made = {ROOT / "docs" / uri for uri in (*hook.PAGES, "adr/index.md")}
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        goal = link.partition("#")[0]
        if goal and "://" not in goal and (target := Path(page.parent / goal).resolve()) not in made:
            assert target.exists(), link


def test_the_navigation_names_every_page_once_and_no_other() -> None:
    found = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    entries = [entry for section in found["nav"] for part in section.values() for entry in part]
    named = [entry if isinstance(entry, str) else next(iter(entry.values())) for entry in entries]
    written = {path.relative_to(ROOT / "docs").as_posix() for path in PAGES[2:]}
    records = {uri for uri in written if uri.startswith(("adr/0", "experiments/0"))}
    assert sorted(named) == sorted((written - records) | {*hook.PAGES, "adr/index.md"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_equations_have_a_form_in_mathml(page: Path) -> None:
    for tex in re.findall(r"\$\$(.+?)\$\$", page.read_text(encoding="utf-8"), re.DOTALL):
        assert equations.drawn(tex, display="block", of=page.name).startswith("<math")


def test_an_unknown_command_in_an_equation_is_named() -> None:
    page = '<p><span class="arithmatex">\\(a &lt; b\\)</span></p>'
    assert "<math" in (drawn := equations.rendered(page, of="x.md"))
    assert "arithmatex" not in drawn
    with pytest.raises(ValueError, match=r"x\.md: \\nosuch in the equation .* has no form in MathML"):
        equations.rendered('<div class="arithmatex">\\[\\nosuch{a}\\]</div>', of="x.md")


def test_markdown_for_github_becomes_markdown_for_the_site() -> None:
    text = "It needs:\n- one\n  more of one\n- two\n\n```\nx\n- y\n```\nand\n1. first\n"
    assert markup.spaced(text) == "It needs:\n\n- one\n  more of one\n- two\n\n```\nx\n- y\n```\nand\n\n1. first\n"
    assert markup.title("text\n# A title\n") == "A title"
    assert (
        markup.to_notebook_pages("[a](../../notebooks/01_a.ipynb) [b](notebooks/b.ipynb)")
        == "[a](../notebooks/01_a.md) [b](notebooks/b.md)"
    )
    with pytest.raises(ValueError, match="needs a first heading"):
        markup.title("text")


def test_a_notebook_becomes_a_page_with_its_pictures(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Protect\n", "Words: [scale](../docs/scale.md)."]},
        {
            "cell_type": "code",
            "source": ["print('```')"],
            "outputs": [
                {"output_type": "stream", "text": ["```\n"]},
                {"output_type": "display_data", "data": {"image/png": "iVBORw0K", "text/plain": "<Figure>"}},
            ],
        },
    ]
    path = tmp_path / "01_protect.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}))
    text, pictures = notebooks.page(path)
    assert text.startswith("# Protect\n\n*A notebook: `notebooks/01_protect.ipynb`")
    assert "````python\nprint('```')\n````" in text
    assert "![](01_protect-1-1.png)" in text
    assert "Figure" not in text
    assert "Words: [scale](../scale.md)." in text
    assert pictures == {"01_protect-1-1.png": b"\x89PNG\r\n"}
    cells[1]["outputs"] = [{"output_type": "error", "ename": "ValueError", "evalue": "no"}]
    path.write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}))
    with pytest.raises(ValueError, match="saved with an error, ValueError: no; run it again"):
        notebooks.page(path)


def test_the_check_of_a_site_finds_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.html").write_text('<h2 id="here">b</h2><a href="../a.html#top">a</a>')
    good = '<p id="top"></p><a href="sub/b.html#here"></a><a href="https://example.org"></a><img src="data:image/png;base64,">'
    (tmp_path / "a.html").write_text(good)
    assert check.main([str(tmp_path)]) == 0
    assert "2 pages" in capsys.readouterr().out
    (tmp_path / "a.html").write_text(
        '<a href="sub/b.html#there"></a><a href="c.html"></a><a href="../up.html"></a><script src="https://cdn.example.org/x.js"></script>'
    )
    (tmp_path / "s.css").write_text("@import 'x.css';")
    assert check.main([str(tmp_path)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.split(": ", 1)[1] for line in told] == [
        "sub/b.html#there: sub/b.html has no anchor there",
        "c.html leads nowhere",
        "../up.html leads nowhere",
        "fetches https://cdn.example.org/x.js",
        "../a.html#top: a.html has no anchor top",
        "fetches from elsewhere",
    ]


def test_contributing_names_what_the_code_has() -> None:
    """Every path in it leads to a file, every name in it stands in the code; `<name>` stands for one that a reader chooses."""
    text = re.sub(r"^```.*?^```", "", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    folders = [ROOT / top for top in ("ray_ue", "tests", "jobs", "docs", "benchmarks")]
    files = [path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    files += [path.name for path in ROOT.iterdir()]
    words = {
        word for path in files if path.endswith((".py", ".toml")) for word in re.findall(r"\w+", (ROOT / path).read_text(encoding="utf-8"))
    }
    missing = []
    for code in re.findall(r"`([^`\n]+)`", text):
        if re.fullmatch(r"[\w./-]+/[\w./-]*|[\w-]+\.(?:py|md|toml|json|csv|yml)", code):
            name = code.rstrip("/")
            missing += [] if any(f"/{path}".endswith(f"/{name}") for path in files) else [code]
        elif re.fullmatch(r"[\w.]+(?:\(\))?", code):
            missing += [part for part in re.findall(r"\w+", code) if part not in words]
    assert not missing, f"CONTRIBUTING.md names {missing}, which the project does not have"
