"""What a trial does is kept in its folder, at most every two seconds, for the process that shows it."""

from pathlib import Path

import pytest

from ray_ue.storage.artifacts import Folder
from ray_ue.sweeps import trial_records
from ray_ue.sweeps.trial_records import Noted, note_of


def test_the_last_line_can_be_read_and_lines_in_between_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(trial_records.time, "monotonic", lambda: now[0])
    folder = Folder.at(str(tmp_path))
    assert note_of(folder) == ""
    noted = Noted(folder)
    for at, line in ((0.0, " evaluate  3/9 cells"), (1.0, " evaluate  4/9 cells"), (2.5, " evaluate  5/9 cells  33 %")):
        now[0] = at
        noted(line)
        assert note_of(folder) == {0.0: "evaluate 3/9 cells", 1.0: "evaluate 3/9 cells", 2.5: "evaluate 5/9 cells 33 %"}[at]
