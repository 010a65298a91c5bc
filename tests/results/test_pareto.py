"""The laws of a Pareto front, and a table that fits a terminal."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_ue.results.pareto import format_table, pareto_front
from ray_ue.results.tables import TRIALS
from ray_ue.results.text import WIDTH
from ray_ue.storage.artifacts import Folder

DONE: dict = {"status": "done", "reason": "", "accuracy": 0.5, "spread": 0.01, "n": 3, "victim": "fast", "relabel": "identity"}
DONE |= {"defense": "none", "most": 8, "psnr": 35.0, "seconds": 90.0, "images": 100, "fingerprint": "00ff"}


def trial(
    name: str, *, kept: float | None, levels: int | None = 8, passes: int | None = 100, ssim: float | None = 0.9, **changed: object
) -> dict:
    row = {**dict.fromkeys(TRIALS.schema.names), **DONE, "name": name, "point": json.dumps({"clusters": name})}
    return {**row, "kept": kept, "levels": levels, "passes": passes, "ssim": ssim, **changed}


def no_better(one: dict, other: dict) -> bool:
    """Whether `one` is nowhere better than `other`, said without the code under test."""
    seen = [-math.inf if row["ssim"] is None else round(row["ssim"], 2) for row in (one, other)]
    return one["kept"] >= other["kept"] and one["levels"] >= other["levels"] and one["passes"] >= other["passes"] and seen[0] <= seen[1]


def dominated(one: dict, other: dict) -> bool:
    return no_better(one, other) and not no_better(other, one)


SHARES = st.sampled_from([0.0, 0.25, 0.5, 0.75])
ROW = st.builds(
    lambda kept, levels, passes, ssim: {"kept": kept, "levels": levels, "passes": passes, "ssim": ssim},
    SHARES,
    st.sampled_from([4, 8, 16]),
    st.sampled_from([100, 1000]),
    st.sampled_from([None, 0.8, 0.8004, 0.9, 0.95]),
)
ROWS = st.lists(ROW, max_size=12).map(lambda found: [trial(f"t{at}", **values) for at, values in enumerate(found)])


@settings(deadline=None)
@given(ROWS)
def test_nobody_on_the_front_is_dominated_and_everybody_off_it_is_by_one_on_it(rows: list[dict]) -> None:
    on = pareto_front(rows)
    best = [row for row in rows if row["name"] in on]
    assert not any(dominated(row, other) for row in best for other in rows)
    assert all(any(dominated(row, other) for other in best) for row in rows if row["name"] not in on)
    kept = [next(row["kept"] for row in rows if row["name"] == name) for name in on]
    assert kept == sorted(kept)


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[dict], chance: random.Random) -> None:
    mixed = list(rows)
    chance.shuffle(mixed)
    assert pareto_front(mixed) == pareto_front(rows)
    assert format_table(mixed) == format_table(rows)


@settings(deadline=None)
@given(ROWS.filter(len), st.data())
def test_a_dominated_row_changes_nothing(rows: list[dict], data: st.DataObject) -> None:
    other = data.draw(st.sampled_from(rows))
    worse = data.draw(st.sampled_from(["kept", "levels", "passes"]))
    assert pareto_front([*rows, {**other, "name": "worse", worse: other[worse] + 1}]) == pareto_front(rows)


def test_a_front_checked_by_hand() -> None:
    rows = [
        trial("strong", kept=0.1, levels=32, ssim=0.7),
        trial("subtle", kept=0.6, levels=4, ssim=0.99),
        trial("middle", kept=0.3, levels=8, ssim=0.9),
        trial("twin", kept=0.3, levels=8, ssim=0.904),  # the third decimal of SSIM is no difference
        trial("slow", kept=0.3, levels=8, passes=200),
        trial("clearer", kept=0.35, levels=8, ssim=0.93),
        trial("loud", kept=0.3, levels=16),
    ]
    assert pareto_front(rows) == ("strong", "middle", "twin", "clearer", "subtle")


def test_an_unknown_ssim_is_no_merit_and_equals_its_like() -> None:
    one, two, seen = trial("one", kept=0.3, ssim=None), trial("two", kept=0.3, ssim=None), trial("seen", kept=0.3, ssim=0.2)
    assert pareto_front([one, two]) == ("one", "two")
    assert pareto_front([one, two, seen]) == ("seen",)
    assert pareto_front([trial("one", kept=0.2, ssim=math.nan), seen]) == ("one", "seen")


@pytest.mark.parametrize(
    "changed", [{"status": "failed"}, {"status": "stopped"}, {"kept": None}, {"kept": math.nan}, {"levels": None}, {"passes": None}]
)
def test_what_did_not_finish_or_is_unknown_is_on_no_front(changed: dict) -> None:
    assert pareto_front([trial("weak", kept=0.9), {**trial("odd", kept=0.1), **changed}]) == ("weak",)
    assert pareto_front([{**trial("odd", kept=0.1), **changed}]) == ()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run = Folder.at(str(tmp_path))
    rows = [trial("a", kept=0.3), {"name": "b", "status": "failed", "reason": "no images", "point": "{}"}]
    TRIALS.write(run, rows)
    found = TRIALS.read(run)
    assert found.schema == TRIALS.schema
    assert found.to_pylist() == [rows[0], {**dict.fromkeys(TRIALS.schema.names), **rows[1]}]


def test_a_table_of_another_version_is_refused(tmp_path: Path) -> None:
    run = Folder.at(str(tmp_path))
    run.write_table(TRIALS.name, TRIALS.write(run, [trial("a", kept=0.3)]).drop_columns(["kept", "ssim"]))
    with pytest.raises(ValueError, match=r"lacks the columns kept, ssim; it was not written by this version"):
        TRIALS.read(run)


def test_the_table_puts_the_best_first_marks_the_front_and_ends_with_reasons() -> None:
    rows = [
        trial("10", kept=0.4, levels=16),
        trial("20", kept=0.3, pattern=0.62),
        trial("5", kept=None, accuracy=None, spread=None, victim=None, relabel=None, defense=None),
        trial("50", kept=None, status="failed", reason="out of\nmemory | <b>"),
        trial("80", kept=0.9, status="stopped", reason="it protected less than the others"),
    ]
    lines = format_table(rows).splitlines()
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    assert cells[0][:4] == ["|", "clusters", "kept, %", "accuracy, %"]
    assert [row[1] for row in cells[2:5]] == ["20", "10", "5"]
    assert [row[0] for row in cells[2:5]] == ["| *", "|", "|"]
    assert cells[2][2:9] == ["30.0", "50.0 ± 1.0 (3)", "62.0", "fast, identity, none", "8", "0.90", "100"]
    assert cells[4][2:6] == ["–", "–", "–", "–"]
    assert lines[5:] == [
        "",
        "- stopped: clusters 80: it protected less than the others",
        "",
        "- failed: clusters 50: out of memory \\| &lt;b>",
    ]


def test_lpips_is_a_column_where_a_trial_has_it() -> None:
    assert "LPIPS" not in format_table([trial("a", kept=0.3)])
    table = format_table([trial("a", kept=0.3, lpips=0.1234), trial("b", kept=0.4)])
    assert "LPIPS" in table
    assert "0.123" in table


def test_a_table_from_before_a_column_was_there_is_read(tmp_path: Path) -> None:
    run = Folder.at(str(tmp_path))
    run.write_table(TRIALS.name, TRIALS.write(run, [trial("a", kept=0.3)]).drop_columns(["pattern", "lpips"]))
    assert TRIALS.read(run).to_pylist() == [trial("a", kept=0.3)]


def test_one_seed_has_no_spread_to_show() -> None:
    assert "| 50.0 (1) " in format_table([trial("a", kept=0.3, spread=None, n=1)])
    assert "± nan" not in format_table([trial("a", kept=0.3, spread=math.nan, n=1)])


@settings(deadline=None)
@given(st.lists(st.text(max_size=200), min_size=1, max_size=4), st.text(max_size=400))
def test_the_table_fits_a_terminal_whatever_the_names(texts: list[str], reason: str) -> None:
    place = {f"axis{at}": text for at, text in enumerate(texts)}
    row = trial("a", kept=0.3, point=json.dumps(place), relabel="super:" + "x" * 90)
    gone = trial("b", kept=None, status="failed", reason=reason, point=json.dumps(place))
    lines = format_table([row, gone]).splitlines()
    assert max(map(len, lines[:3])) <= WIDTH
    assert len({len(line) for line in lines[:3]}) == 1
    assert len({line.replace("\\|", "").count("|") for line in lines[:3]}) == 1
    assert "…" in lines[2]


def test_no_finished_trial_is_said() -> None:
    assert format_table([]) == "No trial finished."
    assert format_table([trial("a", kept=None, status="failed", reason="no disk")]).splitlines()[0] == "No trial finished."
