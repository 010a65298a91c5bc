"""The audit says what pip-audit found, and says so where it knows nothing: it never takes silence for safety."""

import json
import subprocess
from pathlib import Path

import pytest

from tools import audit

UNKNOWN = {"name": "a", "skip_reason": "not found"}
SAFE = {"name": "b", "version": "1.0", "vulns": []}
FAULTY = {"name": "c", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}


def told(*packages: dict) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("output", "code", "phrase"),
    [
        (told(UNKNOWN, UNKNOWN), 0, "audit skipped: the index gives no vulnerability data for any of 2"),
        ("", 0, "audit skipped: pip-audit gave no result (why)"),
        ("{}", 0, "audit skipped"),
        (told(UNKNOWN, SAFE), 0, "0 known vulnerabilities in 1 of 2"),
        (told(UNKNOWN, SAFE, FAULTY), 1, "c 2.0: CVE-1, mended in 2.1"),
    ],
)
def test_what_was_found_decides_and_silence_is_named(
    output: str, code: int, phrase: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list] = []

    def run(words: list, **_: object) -> subprocess.CompletedProcess:
        ran.append(words)
        return subprocess.CompletedProcess(words, 0, stdout=output, stderr="first\nwhy\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == code
    assert phrase in capsys.readouterr().out
    named = Path(ran[0][ran[0].index("--requirement") + 1])
    assert all("==" in line for line in named.read_text().splitlines() if line and not line.startswith("#"))
