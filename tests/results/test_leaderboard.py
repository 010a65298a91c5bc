"""What joins a leaderboard, in which order, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from ray_ue.cli.main import main
from ray_ue.pipelines.leaderboard import add
from ray_ue.report.leaderboard import tried
from ray_ue.results.leaderboard import LEADERBOARD
from ray_ue.results.tables import RESULTS
from ray_ue.storage.artifacts import Folder

KINDS = ("clean", "noise", "pattern", "protected")


def evaluated(
    home: Path,
    *,
    copy: str = "uc",
    kept: float = 0.2,
    seeds: int = 3,
    defenses: tuple[str, ...] = ("none", "rrc", "jitter"),
    kinds: tuple[str, ...] = KINDS,
    taught: float = 0.9,
    **changes: Any,
) -> Path:
    """The folder of an evaluation in which a copy keeps this share of 80 points; noise keeps all, a random pattern half."""
    means = {"clean": taught, "noise": 0.9, "pattern": 0.5, "protected": 0.1 + 0.8 * kept}
    done = {"status": "done", "reason": "", "chance": 0.1, "classes": 10, "fraction": 0.0, "victim": "fast", "relabel": "identity"}
    rows: list[dict[str, Any]] = []
    for data in kinds:
        for defense in defenses:
            for seed in range(seeds):
                accuracy = means[data] + 0.01 * (seed - 1) + (0.04 if (data, defense) == ("protected", "jpeg:10") else 0.0)
                rows.append(done | {"copy": copy, "data": data, "defense": defense, "seed": seed, "accuracy": accuracy})
    folder = Folder.at(str(home))
    RESULTS.write(folder, rows)
    facts = {"psnr_mean": 26.0, "ssim_mean": 0.86}
    about = {"name": copy, "levels": 16, "facts": facts, "fingerprints": {"export": copy}, "recipe": {"method": "uc", "groups": "kmeans"}}
    run = {"title": copy, "clean": "/data/photos", "copies": [about], "digests": {"test": "abc"}, "chosen": {"image_size": 64}}
    folder.write_json("run.json", run | changes)
    return home


def lines(board: Path) -> list[dict[str, Any]]:
    return LEADERBOARD.read(Folder.at(str(board))).to_pylist()


def test_the_lowest_everyday_worst_case_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = [str(evaluated(tmp_path / name, copy=name, kept=kept)) for name, kept in (("b", 0.5), ("a", 0.25), ("c", 0.75))]
    assert main(["leaderboard", "add", *results, "--board", str(tmp_path / "board")]) == 0
    assert "3 copies, best everyday worst case 25.0 % kept (a)" in capsys.readouterr().out
    assert [(line["copy"], round(line["everyday"], 3), line["data_set"]) for line in lines(tmp_path / "board")] == [
        ("a", 0.25, "photos"),
        ("b", 0.5, "photos"),
        ("c", 0.75, "photos"),
    ]
    first = lines(tmp_path / "board")[0]
    assert (first["pattern_kept"], first["noise_kept"], first["clean"]) == pytest.approx((0.5, 1.0, 0.9))
    assert first["determined"] is None
    page, text = ((tmp_path / "board" / name).read_text() for name in ("leaderboard.html", "leaderboard.md"))
    assert page.index(">a<") < page.index(">b<") < page.index(">c<")
    assert "| a | 25.0 ± 1.3 | fast, identity, jitter | not tried | – | 50.0 | 100.0 | 90.0 | uc | none | 16/255 | 26.0 | 3 (few) |" in text
    assert "Tried on every copy: victims fast; treatments jitter, none, rrc." in text
    assert "3 (few)" in text


def test_a_determined_worst_case_stands_beside_the_everyday_one(tmp_path: Path) -> None:
    add((evaluated(tmp_path / "a", defenses=("none", "rrc", "jitter", "jpeg:10")),), board=tmp_path / "board")
    (line,) = lines(tmp_path / "board")
    assert (line["everyday"], line["determined"]) == pytest.approx((0.2, 0.25))
    assert line["determined_place"].endswith("defense jpeg:10")
    assert line["defenses"] == "jitter,jpeg:10,none,rrc"


def test_a_copy_that_is_there_already_is_replaced(tmp_path: Path) -> None:
    for kept in (0.5, 0.3):
        add((evaluated(tmp_path / "a", kept=kept),), board=tmp_path / "board", data_set="photos10")
    assert [(line["data_set"], round(line["everyday"], 3)) for line in lines(tmp_path / "board")] == [("photos10", 0.3)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"defenses": ("none", "rrc")}, "uc has no everyday worst case: jitter is missing; evaluate it with --defenses everyday"),
        ({"seeds": 2}, "uc has 2 seeds in its worst case, and 3 are the least; evaluate it with --seeds 5"),
        ({"kinds": ("clean", "pattern", "protected")}, "uc lacks the control with random noise in its worst case"),
        ({"kinds": ("clean", "noise", "protected")}, "uc lacks the control with a random pattern per group"),
        ({"digests": {}}, "run ray-ue evaluate again with the same flags"),
        ({"copy": "b", "digests": {"test": "other"}}, "photos has lines with other test images or another size .* --data-set"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_changes_nothing(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    board = tmp_path / "board"
    add((evaluated(tmp_path / "first", copy="first"),), board=board)
    before = lines(board)
    with pytest.raises(ValueError, match=told):
        add((evaluated(tmp_path / "fine", copy="fine"), evaluated(tmp_path / "a", **changes)), board=board)
    assert lines(board) == before


def test_a_wrong_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished evaluation; name a folder that ray-ue evaluate wrote"):
        add((tmp_path / "nothing",), board=tmp_path / "board")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(ValueError, match="is not empty and holds no leaderboard"):
        add((evaluated(tmp_path / "a"),), board=tmp_path / "mine")
    with pytest.raises(ValueError, match="name at least one evaluation"):
        add((), board=tmp_path / "board")


def test_copies_without_groups_need_no_control_of_patterns(tmp_path: Path) -> None:
    about = {"name": "uc", "levels": 16, "facts": {"psnr_mean": 26.0}, "recipe": {"method": "given", "groups": "kmeans", "per": "auto"}}
    home = evaluated(tmp_path / "a", kinds=("clean", "noise", "protected"), copies=[about | {"grouped": False}])
    add((home,), board=tmp_path / "board")
    assert [(line["groups"], line["pattern_kept"]) for line in lines(tmp_path / "board")] == [("none", None)]
    with pytest.raises(ValueError, match="lacks the control with a random pattern per group"):
        add((evaluated(tmp_path / "b", kinds=("clean", "noise", "protected"), copies=[about]),), board=tmp_path / "board")


def test_copies_from_elsewhere_with_one_name_are_two_lines(tmp_path: Path) -> None:
    for number in (1, 2):
        about = {"name": "uc", "uri": f"/data/{number}/uc", "levels": 16, "facts": None, "recipe": None}
        add((evaluated(tmp_path / str(number), kept=0.2 * number, copies=[about]),), board=tmp_path / "board")
    assert [round(line["everyday"], 3) for line in lines(tmp_path / "board")] == [0.2, 0.4]


def test_copies_on_which_other_treatments_were_tried_are_named() -> None:
    def line(copy: str, defenses: str) -> dict[str, str]:
        return {"copy": copy, "victims": "fast", "defenses": defenses}

    assert tried([line("a", "none"), line("b", "none,rrc"), line("c", "none")]) == [
        "Tried on a, c: victims fast; treatments none.",
        "Tried on b: victims fast; treatments none, rrc.",
    ]


def test_what_was_tried_and_taught_nothing_is_not_called_missing(tmp_path: Path) -> None:
    weak = evaluated(tmp_path / "weak", taught=0.1)
    with pytest.raises(ValueError, match=r"jitter, none, rrc are not comparable, because clean images do not teach .*; train its"):
        add((str(weak),), board=str(tmp_path / "board"), data_set="")


def test_our_own_board_stands_with_five_seeds_and_all_controls() -> None:
    """The board that the repository carries, as a page quotes it (docs/howto/evaluate.md)."""
    lines = LEADERBOARD.read(Folder.at(str(Path(__file__).parents[2] / "docs/leaderboard"))).to_pylist()
    assert {line["data_set"] for line in lines} == {"photos10", "cifar10"}
    assert len(lines) == 34
    assert all(line["seeds"] >= 5 for line in lines)
    assert all(line[name] > 0 for line in lines for name in ("noise_kept", "pattern_kept", "clean"))
    assert {"none", "rrc", "jitter"} <= set(lines[0]["defenses"].split(","))
