"""Progress counts right and speaks plainly."""

import pytest

from ray_ue.progress import Progress, duration, heard_by, say


def test_a_line_shows_share_rate_time_left_and_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = Progress(stage="embed", total=100, clock=lambda: now[0])
    progress.skip(50)
    now[0] = 10.0
    progress.add(25, rejected=2)
    assert capsys.readouterr().err == "    embed  75/100 rows  75 %  2.5/s  ETA 0:10  2 rejected\n"
    now[0] = 20.0
    progress.add(25)
    progress.close()
    assert capsys.readouterr().err.splitlines()[-1] == "    embed  100 rows in 0:20  2.5/s  50 were done before  2 rejected"


def test_a_listener_is_told_every_line_while_it_listens(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    progress = Progress(stage="embed", total=4, clock=lambda: 1.0)
    with heard_by(told.append):
        say("    embed  begins")
        progress.add(1)
        progress.add(2)
    progress.add(1)
    assert [line.split()[:2] for line in told] == [["embed", "begins"], ["embed", "1/4"], ["embed", "3/4"]]


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (61.0, "1:01"), (3661.4, "1:01:01")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text
