"""What a user can get wrong is one line and exit code 2, before anything starts."""

from pathlib import Path

import pytest

from ray_ue.cli import blame, main

WRONG = {
    "no such verb": (["protekt"], "no verb is called 'protekt'; there are protect, index"),
    "no such flag": (["protect", "{photos}", "{out}", "--clutsers", "3"], "--clutsers.*--clusters"),
    "no number": (["protect", "{photos}", "{out}", "--clusters", "many"], "--clusters.*many"),
    "missing output": (["protect", "{photos}"], "[Oo]utput|required"),
    "no such source": (["protect", "{photos}/nowhere", "{out}"], "there is no .*nowhere.*give an existing folder"),
    "empty source": (["protect", "{empty}", "{out}"], "holds no files"),
    "budget": (["protect", "{photos}", "{out}", "--budget", "0.05"], "write 12/255 or 13/255"),
    "one cluster": (["protect", "{photos}", "{out}", "--clusters", "1"], "ask for 2 or more"),
    "surrogate": (
        ["protect", "{photos}", "{out}", "--surrogate", "clip:RN50"],
        "surrogate.*is not understood; write open_clip:RN50/openai",
    ),
    "surrogate file": (["protect", "{photos}", "{out}", "--surrogate", "open_clip:RN50@/nowhere.pt"], "no weights file /nowhere.pt"),
    "weights without a network": (
        ["protect", "{photos}", "{out}", "--surrogate", "torchvision:resnet18"],
        "could not fetch.*give a downloaded",
    ),
    "aim": (["protect", "{photos}", "{out}", "--aim", "nearest"], "no aim is called 'nearest'; there are farthest, random, shift"),
    "method": (["protect", "{photos}", "{out}", "--method", "magic"], "no method is called 'magic'"),
    "image format": (["protect", "{photos}", "{out}", "--image-format", "bmp"], "no image format is called 'bmp'"),
    "fraction": (["protect", "{photos}", "{out}", "--max-rejected", "5"], "fraction from 0 to 1"),
    "workers": (["protect", "{photos}", "{out}", "--workers", "many"], "--workers is a number"),
    "foreign output": (["protect", "{photos}", "{foreign}"], "is not empty and was not written by ray-ue"),
    "inside": (["protect", "{photos}", "{photos}/out"], "lie in each other"),
    "same": (["protect", "{photos}", "{photos}"], "lie in each other"),
    "unwritable": (["protect", "{photos}", "/proc/nowhere/out"], "cannot write to /proc/nowhere"),
    "nothing to verify": (["verify", "{empty}"], "cannot be checked; name a folder that ray-ue protect wrote"),
}


def no_network(*arguments: object, **named: object) -> None:
    raise OSError("Name or service not known")


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_one_line_and_exit_code_2(case: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = {name: tmp_path / name for name in ("out", "empty", "foreign")} | {"photos": photos}
    places["empty"].mkdir()
    places["foreign"].mkdir()
    (places["foreign"] / "thesis.txt").write_text("mine")
    words, phrase = WRONG[case]
    assert main([word.format(**places) for word in words]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("ray-ue: ")
    import re

    assert re.search(phrase, told), told
    assert not places["out"].exists()


def test_a_dry_run_prints_the_plan_and_writes_nothing(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protect", str(photos), str(tmp_path / "out"), "--budget", "0.0314", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "rows  60" in told
    assert "8/255 (8 levels" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_help_names_every_verb_and_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(verb in told for verb in ("protect", "embed", "cluster", "craft", "export", "verify"))
    assert len(told.splitlines()) <= 24


def test_a_disk_that_cannot_hold_the_copy_is_refused_before_anything_starts(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_ue.artifacts.Folder.free_bytes", lambda folder: 2.0**10)
    assert main(["protect", str(photos), str(tmp_path / "out")]) == 2
    assert "GiB are free; free some room" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "phrase"),
    [(OSError(28, "No space left on device", "/x"), "No space left on device: /x; mend that"), (ValueError("plain"), "plain")],
)
def test_what_ray_wraps_is_still_one_line(error: Exception, phrase: str) -> None:
    outer = RuntimeError("task failed")
    outer.__cause__ = error
    assert phrase in str(blame(outer))
    assert blame(RuntimeError("a bug")) is None
    assert str(blame(RuntimeError("The actor died\n  File x\nValueError: no weights\n"))) == "no weights"
