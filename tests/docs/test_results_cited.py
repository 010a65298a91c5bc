"""Every "mean ± sd" that README and the pages quote is a row of docs/experiments/results.csv, which holds the experiments' tables.

A table row, a list item, a paragraph or a fenced block names its rows in a comment: `<!-- results: ID ID -->`, one ID for each quoted
number, in their order. Notebooks are left out because they compute their numbers when they run, and jobs because they quote none.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXPERIMENTS = sorted((DOCS / "experiments").glob("0*.md"))
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "experiments")]
QUOTE = re.compile(r"(\d+(?:\.\d+)?)\s±\s(\d+(?:\.\d+)?)")
CITATION = re.compile(r"<!-- results: ([^>]*?) *-->", re.DOTALL)
BREAKS = re.compile(r"\s*(?:[-*+]|\d+\.|#+) ")  # a list item or a heading starts a block of its own


def rows() -> dict[str, dict[str, str]]:
    with (DOCS / "experiments/results.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert len({row["id"] for row in listed}) == len(listed), "two rows of results.csv have one id"
    return {row["id"]: row for row in listed}


ROWS = rows()


def blocks(text: str) -> Iterator[str]:
    """Table rows, list items, paragraphs, and fenced blocks with the line that follows them."""
    block: list[str] = []
    fenced = False
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        if not fenced and (fence or not line.strip() or line.startswith("|") or BREAKS.match(line)):
            yield "\n".join(block)
            block = []
        block.append(line)
        fenced = fenced != fence
    yield "\n".join(block)


def errors(text: str) -> list[str]:
    """What is wrong with the citations of a page."""
    wrong = []
    for block in blocks(text):
        quoted = QUOTE.findall(CITATION.sub("", block))
        cited = " ".join(CITATION.findall(block)).split()
        if len(quoted) != len(cited):
            wrong.append(f"{len(quoted)} numbers and {len(cited)} ids in: {block}")
        for (mean, sd), name in zip(quoted, cited, strict=False):
            if name not in ROWS:
                wrong.append(f"results.csv has no row {name}, cited for {mean} ± {sd}")
            elif (mean, sd) != rounded(name, mean, sd):
                wrong.append(f"{name} is {ROWS[name]['mean']} ± {ROWS[name]['sd']}, quoted as {mean} ± {sd}")
    return wrong


def rounded(name: str, mean: str, sd: str) -> tuple[str, str]:
    """The row's values with as many digits as the quoted ones."""
    return same_digits(ROWS[name]["mean"], mean), same_digits(ROWS[name]["sd"], sd)


def same_digits(value: str, like: str) -> str:
    return f"{float(value):.{len(like.partition('.')[2])}f}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_quoted_result_is_its_row(page: Path) -> None:
    assert not (wrong := errors(page.read_text(encoding="utf-8"))), "\n".join(wrong)


def test_a_wrong_digit_or_a_missing_id_is_found() -> None:
    name, row = next(iter(ROWS.items()))
    good = f"{row['mean']} ± {row['sd']}"
    assert not errors(f"| clean | {good} <!-- results: {name} --> |")
    assert not errors(f"```text\n{good}\n```\n<!-- results: {name} -->")
    assert errors(f"{float(row['mean']) + 1:.1f} ± {row['sd']} <!-- results: {name} -->")
    assert errors(good)
    assert errors(f"{good} <!-- results: 0000-unknown -->")
    assert errors(f"- {good}\n- of another item <!-- results: {name} -->")


@pytest.mark.parametrize("page", EXPERIMENTS, ids=lambda page: page.stem)
def test_the_tables_of_an_experiment_are_its_rows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    listed = Counter((row["mean"], row["sd"]) for row in ROWS.values() if row["experiment"] == page.stem[:4] and row["sd"])
    tables = Counter(pair for line in text.splitlines() if line.startswith("|") for pair in QUOTE.findall(line))
    assert tables == listed, f"more often in a table: {tables - listed}; more often in results.csv: {listed - tables}"
    for block in blocks(text):
        if CITATION.search(block):  # a number of another experiment
            assert not (wrong := errors(block)), "\n".join(wrong)
        else:
            assert not (other := set(QUOTE.findall(block)) - set(listed)), f"{other} in: {block}"


def test_rows_are_complete() -> None:
    known = {page.stem[:4] for page in EXPERIMENTS}
    for name, row in ROWS.items():
        assert name.startswith(f"{row['experiment']}-"), name
        assert row["experiment"] in known, name
        assert all(row[field] for field in ("measure", "source", "victim", "relabel", "defense", "n", "mean")), name
        assert bool(row["method"]) != bool(row["control"]), f"{name} is a method's or a control's"
        assert (int(row["n"]) > 1) == bool(row["sd"]), f"{name}: one seed has no spread"


def test_the_index_names_every_experiment_newest_first() -> None:
    index = (DOCS / "experiments/index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \| (\S+) \| (.+?) \| (.+?) \|$", index, re.MULTILINE)
    assert [name for _, name, *_ in listed] == [page.name for page in reversed(EXPERIMENTS)]
    assert [int(number) for number, *_ in listed] == list(range(len(EXPERIMENTS), 0, -1))
    for number, name, date, question, verdict in listed:
        text = (DOCS / "experiments" / name).read_text(encoding="utf-8")
        assert name.startswith(number)
        assert f"# {question}\n" in text
        assert f"- **Date**: {date}\n" in text
        for part in ("- **Commit**: `", "- **Seeds**: ", "\n## Commands\n", "\n## Result\n", "\n## Notes\n"):
            assert part in text, f"{name} has no {part.strip()}"
        found = text.partition("\n## Verdict\n")[2].partition("\n## ")[0]
        assert " ".join(found.split()).startswith(verdict), f"{name}: its verdict begins otherwise than the index says"
