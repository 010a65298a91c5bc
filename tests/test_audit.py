"""The audit runs where there is vulnerability data, and says why where there is none: it never takes silence for safety."""

import subprocess
from pathlib import Path

import pytest

from tools import audit


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        ('{"info": {}, "vulnerabilities": []}', ""),
        ('{"info": {}}', "names no vulnerabilities"),
        ("<html>", "Expecting value"),
        (None, "No such"),
    ],
)
def test_only_an_index_that_names_vulnerabilities_counts(content: str | None, phrase: str, tmp_path: Path) -> None:
    page = tmp_path / "json"
    if content is not None:
        page.write_text(content)
    why = audit.reachable(page.as_uri())
    assert phrase in why
    assert bool(why) == bool(phrase)


def test_without_data_it_says_so_and_runs_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(audit, "reachable", lambda _: "404")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it ran"))
    assert audit.main() == 0
    assert "audit skipped" in capsys.readouterr().out


@pytest.mark.parametrize("code", [0, 1])
def test_with_data_the_exit_code_is_that_of_pip_audit(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list] = []

    def run(words: list, **_: object) -> subprocess.CompletedProcess:
        ran.append(words)
        return subprocess.CompletedProcess(words, code)

    monkeypatch.setattr(audit, "reachable", lambda _: "")
    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == code
    named = Path(ran[0][ran[0].index("--requirement") + 1])
    assert all("==" in line for line in named.read_text().splitlines() if line and not line.startswith("#"))
