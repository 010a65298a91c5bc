"""The grid: what it holds, that nothing protected stands without its controls, and what a wrong one is told."""

import inspect
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ray_ue.config.grid import DEFENSE_SETS, Grid, GridCell, grid_cells, split_list
from ray_ue.config.schedules import SCHEDULES

GRID = Grid(victims="linear,fast", defenses="none,grayscale", seeds=3)
RELABELS = ("identity", "pseudo:10")


def counted(grid: Grid, *, copies: int = 1) -> Counter[str]:
    return Counter(place.data for place in grid_cells(grid, copies=copies, relabels=RELABELS))


def test_words_are_the_parts_of_a_list_once_each() -> None:
    assert split_list(" a, b,,a ,c") == ("a", "b", "c")
    assert split_list(" , ") == ()


def test_every_protected_victim_stands_beside_one_clean_and_one_under_noise() -> None:
    assert counted(GRID) == {"protected": 24, "clean": 24, "noise": 24}
    assert counted(GRID, copies=2) == {"protected": 48, "clean": 48, "noise": 48}


def test_copies_with_groups_have_random_patterns_as_a_control_too() -> None:
    found = grid_cells(replace(GRID, purified="x"), copies=3, relabels=RELABELS, patterned=[0, 2])
    assert Counter((place.copy, place.data) for place in found if place.data in ("pattern", "noise")) == {
        **{(copy, "noise"): 36 for copy in range(3)},
        **{(copy, "pattern"): 36 for copy in (0, 2)},
    }


def test_quick_stands_for_some_values_and_leaves_those_that_were_given() -> None:
    assert Grid().settled() == Grid(seeds=3)
    assert Grid(quick=True, seeds=3).settled().seeds == 3  # also where that is what it would be without quick
    quick = Grid(quick=True).settled()
    assert (quick.image_size, quick.seeds, quick.epochs, quick.defenses) == (32, 2, 6, "none,rrc,jitter")
    assert Grid(quick=True, seeds=5, image_size=64).settled() == replace(quick, seeds=5, image_size=64)
    assert quick.settled() == quick
    assert quick.identity() == Grid(**quick.identity()).identity()  # type: ignore[arg-type]
    assert "quick" not in quick.identity()


def test_fractions_add_mixtures_and_the_clean_part_alone() -> None:
    assert counted(replace(GRID, clean_fraction="0.2,0.5")) == {"protected": 72, "clean": 24, "noise": 24, "clean-part": 48}


def test_a_purified_folder_is_a_defense_with_its_own_controls() -> None:
    found = grid_cells(replace(GRID, purified="there/cleaned/,other"), copies=1, relabels=RELABELS)
    mine = [place for place in found if place.purified >= 0]
    assert Counter((place.defense, place.data) for place in mine) == {
        (f"purified:{name}", data): 12 for name in ("cleaned", "other") for data in ("clean", "noise", "protected")
    }
    assert {place.purified for place in mine if place.defense == "purified:other"} == {1}


def test_no_place_is_asked_for_twice_and_controls_come_first() -> None:
    found = grid_cells(replace(GRID, clean_fraction="0.5", purified="x"), copies=2, relabels=RELABELS, patterned=[1])
    assert len(set(found)) == len(found)
    order = ["clean", "noise", "pattern", "protected", "clean-part"]
    assert [order.index(place.data) for place in found] == sorted(order.index(place.data) for place in found)


@pytest.mark.parametrize("grid", [GRID, Grid(victims="fast", clean_fraction="0.2,0.8", seeds=2), Grid(purified="a,b")])
def test_every_protected_place_has_its_controls_under_the_same_seed(grid: Grid) -> None:
    found = set(grid_cells(grid, copies=2, relabels=RELABELS))
    for place in [place for place in found if place.data == "protected"]:
        wanted = ("clean-part",) if place.fraction else ("clean", "noise")
        others = {name: getattr(place, name) for name in GridCell.__dataclass_fields__ if name != "data"}
        assert all(GridCell(data=data, **others) in found for data in wanted)


def test_purified_folders_of_one_name_are_told_apart() -> None:
    found = grid_cells(Grid(purified="a/out,b/out").settled(), copies=1, relabels=("identity",))
    assert len({place.defense for place in found if place.purified >= 0}) == 2


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (0, ("pseudo:10",)),
        (2, ("identity", "pseudo:2")),
        (3, ("identity", "pseudo:3")),
        (4, ("identity", "super:2", "pseudo:4")),
        (10, ("identity", "super:5", "pseudo:10")),
    ],
)
def test_relabels_by_themselves(classes: int, expected: tuple[str, ...]) -> None:
    assert Grid().relabel_names(classes=classes) == expected
    assert Grid(relabels="random:3, identity").relabel_names(classes=classes) == ("random:3", "identity")


def test_a_word_stands_for_a_set_of_defenses_and_can_be_mixed_with_others() -> None:
    everyday = ("none", "jpeg:75", "jpeg:90", "resize:0.5", "rrc", "jitter", "cutmix")
    assert Grid(defenses="everyday").defense_names() == everyday
    assert Grid(defenses="leak:50, everyday, rrc, jpeg:75+rrc").defense_names() == ("leak:50", *everyday, "jpeg:75+rrc")
    determined = Grid(defenses="determined,everyday").defense_names()
    assert determined == Grid(defenses="everyday,determined").defense_names()
    assert determined[: len(everyday)] == everyday
    assert len(set(determined)) == len(determined) == 22


@pytest.mark.parametrize("word", DEFENSE_SETS)
def test_a_set_names_defenses_that_exist_and_the_help_names_them_all(word: str) -> None:
    from ray_ue.exploiter.defenses.registry import DEFENSES, parse

    names = Grid(defenses=word).defense_names()
    assert all(parse(name) for name in names)
    assert word not in DEFENSES
    assert not any(DEFENSES[name.partition(":")[0]].owns_clean for name in names)
    source = inspect.getsource(Grid)
    assert all(name in source for name in names)


def test_a_fraction_list_always_holds_nothing_clean() -> None:
    assert Grid().fractions() == (0.0,)
    assert Grid(clean_fraction="0.5,0.2, 0.5").fractions() == (0.0, 0.2, 0.5)
    assert Grid(clean_fraction="").fractions() == (0.0,)


def test_a_schedule_is_the_named_one_with_what_was_overridden() -> None:
    assert Grid().schedule() == SCHEDULES["fast"]
    assert Grid(training="paper").schedule() == SCHEDULES["paper"]
    found = Grid(training="paper", epochs=2, batch=64, learning_rate=0.3).schedule()
    assert (found.epochs, found.batch, found.lr, found.decay) == (2, 64, 0.3, SCHEDULES["paper"].decay)


@pytest.mark.parametrize(
    ("grid", "victim", "share"),
    [
        (Grid(), "fast", 2.0),
        (Grid(), "resnet18", 1.0),
        (Grid(training="paper"), "fast", 1.0),
        (Grid(learning_rate=0.2), "fast", 1.0),
        (Grid(), "fast:0.2", 1.0),
        (Grid(epochs=3), "resnet18:0.1", 0.5),
        (Grid(training="paper"), "resnet18:0.05", 0.5),
        (Grid(learning_rate=0.2), "fast:0.1", 0.5),
        (Grid(), "linear", 0.1),
        (Grid(), "vit_b_16", 0.1),
        (Grid(), "simclr:lenet5", 1.0),
        (Grid(), "torchvision:resnet18", 0.1),
        (Grid(training="paper"), "torchvision:resnet18", 1.0),
        (Grid(learning_rate=0.2), "linear", 1.0),
        (Grid(training="paper"), "linear", 1.0),
    ],
)
def test_the_fast_schedule_has_a_rate_for_each_kind_of_net_unless_one_was_given(grid: Grid, victim: str, share: float) -> None:
    schedule = grid.schedule_for(victim)
    assert schedule.lr == pytest.approx(grid.schedule().lr * share)
    assert schedule.norm_rate == (16 if share == 2 else 1)


def test_what_learns_most_is_the_default_where_there_are_gpus() -> None:
    assert Grid().trained_on(gpus=2).training == "best"
    assert Grid().trained_on(gpus=0).training == "fast"
    assert Grid(training="paper").trained_on(gpus=2).training == "paper"
    assert Grid(quick=True).settled().trained_on(gpus=2).training == "fast"
    assert Grid().schedule_for("fast") == Grid(training="fast").schedule_for("fast")
    assert Grid().victim_names() == ("fast",)


def test_the_best_training_tries_the_network_fast_at_two_rates_for_longer() -> None:
    grid = Grid(training="best", victims="resnet18,fast,linear")
    assert grid.victim_names() == ("resnet18", "fast", "fast:0.2", "linear")
    assert [grid.schedule_for(name).lr for name in grid.victim_names()] == pytest.approx([0.2, 0.4, 0.2, 0.02])
    assert [grid.schedule_for(name).norm_rate for name in grid.victim_names()] == [1, 16, 1, 1]
    assert {grid.schedule_for(name).epochs for name in grid.victim_names()} == {2 * SCHEDULES["fast"].epochs}
    assert replace(grid, learning_rate=0.1).victim_names() == ("resnet18", "fast", "linear")
    assert replace(grid, victims="fast,fast:0.2").victim_names() == ("fast", "fast:0.2")
    assert Grid().victim_names() == ("fast",)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "victim": ({"victims": "fast,resnet19"}, r"no victim is called 'resnet19'; did you mean 'resnet18'\?"),
    "no victims": ({"victims": " , "}, "--victims is empty; write for example --victims fast, fast:0.2"),
    "training": (
        {"training": "slow"},
        r"no way of training \(--training\) is called 'slow'; there are auto, best, fast, paper",
    ),
    "encoder": ({"encoder": "RN50"}, "the surrogate 'RN50' is not understood"),
    "encoder weights": ({"encoder": "open_clip:RN50@/nowhere.pt"}, "there is no weights file /nowhere.pt"),
    "fractions": ({"clean_fraction": "half"}, "--clean-fraction is a list of fractions such as 0,0.2,0.5,0.8, got 'half'"),
    "all clean": ({"clean_fraction": "0,1"}, "--clean-fraction is from 0 to below 1, got 1; 0.2 means that a fifth of the rows is clean"),
    "percent": ({"clean_fraction": "20"}, "from 0 to below 1, got 20"),
    "no number": ({"clean_fraction": "nan"}, "from 0 to below 1, got nan"),
    "seeds": ({"seeds": -1}, "--seeds must be 0 or more, got -1"),
    "train rows": ({"train_rows": -1}, "--train-rows must be 0 or more, got -1"),
    "test rows": ({"test_rows": -1}, "--test-rows must be 0 or more, got -1"),
    "curve rows": ({"curve_rows": 0}, "--curve-rows must be 1 or more, got 0"),
    "encoder steps": ({"encoder_steps": 0}, "--encoder-steps must be 1 or more, got 0"),
    "image size": ({"image_size": 8}, "--image-size 8 is too small; use 16 or more, or 0 for the side of the images"),
    "negative size": ({"image_size": -1}, "--image-size must be 0 or more, got -1"),
    "flips": ({"flips": 2.0}, "--flips is a fraction from 0 to 1, got 2"),
    "epochs": ({"epochs": -1}, "--epochs must be above 0, got -1"),
    "batch": ({"batch": -5}, "--batch must be above 0, got -5"),
    "rate": ({"learning_rate": -0.1}, "--learning-rate must be above 0, got -0.1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_grid_is_told_what_would_have_worked(case: str) -> None:
    fields, phrase = WRONG[case]
    with pytest.raises(ValueError, match=phrase):
        Grid(**fields).check()


def test_weights_get_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = Grid(
        victims="fast, probe:open_clip:RN50@a.pt", encoder="open_clip:RN50@b.pt", texts="open_clip:RN50/openai"
    ).with_absolute_paths()
    assert grid.victim_names() == ("fast", f"probe:open_clip:RN50@{tmp_path}/a.pt")
    assert (grid.encoder, grid.texts) == (f"open_clip:RN50@{tmp_path}/b.pt", "open_clip:RN50/openai")
    assert Grid().with_absolute_paths() == Grid()


def test_the_default_grid_passes() -> None:
    Grid().check()


@pytest.mark.parametrize("flag", ["victims", "defenses", "relabels"])
def test_an_empty_list_names_its_flag(flag: str) -> None:
    empty = Grid(**{flag: ","})  # type: ignore[arg-type]
    asked = {"victims": empty.victim_names, "defenses": empty.defense_names, "relabels": lambda: empty.relabel_names(classes=3)}[flag]
    with pytest.raises(ValueError, match=f"--{flag} is empty; write for example --{flag} "):
        asked()
