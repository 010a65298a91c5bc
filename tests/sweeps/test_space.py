"""The space of a sweep: what varies, what every setting is called, and which settings share their first stages."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_ue.config.recipe import Recipe
from ray_ue.methods import METHODS
from ray_ue.sweeps.space import (
    FILES,
    SETTING,
    draw_points,
    group_by_shared_stages,
    list_points,
    parse_axes,
    point_name,
    recipe_at,
    recipes_by_name,
)

BASE = Recipe(settings="zeta=0.5,tau=0.1", method="mi-ue")


def test_values_get_the_type_of_their_field() -> None:
    axes = parse_axes(["clusters=5,10", "learning-rate=0.1,1", "budget=8,16/255", "settings.zeta=0,1"])
    assert parse_axes(["clusters=auto,10"]) == {"clusters": (0, 10)}
    assert axes == {"clusters": (5, 10), "learning_rate": (0.1, 1.0), "budget": ("8", "16/255"), "settings.zeta": ("0", "1")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clusters", "such as clusters=5,10,20; got 'clusters'"),
        ("clusters=", "such as clusters=5,10,20"),
        ("cluster=5", "did you mean 'clusters'"),
        ("clusters=5,ten", "takes whole numbers, got 'ten'"),
        ("learning_rate=fast", "takes numbers, got 'fast'"),
        ("settings=a=1", "no recipe field that can vary is called 'settings'"),
    ],
)
def test_a_wrong_axis_is_one_clear_line(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        parse_axes([text])


def test_files_on_an_axis_have_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    axes = parse_axes(["surrogate=ssl:small,open_clip:RN50@a.pt", "settings.file=b.npy"])
    assert axes["surrogate"] == ("ssl:small", f"open_clip:RN50@{tmp_path}/a.pt")
    assert axes["settings.file"] == (f"{tmp_path}/b.npy",)
    assert {name.removeprefix(SETTING) for name in FILES} == {file for method in METHODS.values() for file in method.file_settings}


def test_an_axis_is_named_once() -> None:
    with pytest.raises(ValueError, match="names clusters twice"):
        parse_axes(["clusters=5", "clusters=6"])


def test_every_combination_is_there_once() -> None:
    found = list_points(parse_axes(["clusters=5,10,5", "budget=8,16,32"]))
    assert len(found) == 6
    assert len({point_name(point) for point in found}) == 6
    assert found[0] == {"clusters": 5, "budget": "8"}


def test_a_setting_replaces_only_its_own_part() -> None:
    found = recipe_at({"settings.zeta": "0", "clusters": 7}, base=BASE)
    assert (found.settings, found.clusters, found.method) == ("tau=0.1,zeta=0", 7, "mi-ue")


def test_one_recipe_under_two_names_is_refused() -> None:
    with pytest.raises(ValueError, match=r"budget-8 and budget-8-255-\w+ give the same recipe"):
        recipes_by_name(list_points(parse_axes(["budget=8,8/255"])), base=Recipe())


def test_a_value_that_no_recipe_can_have_is_refused_before_any_work() -> None:
    with pytest.raises(ValueError, match="--clusters 1 leaves no wrong centre"):
        recipes_by_name(list_points(parse_axes(["clusters=1,2"])), base=Recipe())


def test_settings_that_differ_late_share_their_clusters() -> None:
    recipes = recipes_by_name(list_points(parse_axes(["clusters=5,10", "budget=8,16,32", "aim=shift,random"])), base=Recipe())
    shared = group_by_shared_stages(recipes)
    assert sorted(map(len, shared.values())) == [6, 6]
    assert sorted(name for names in shared.values() for name in names) == sorted(recipes)


def test_settings_that_differ_early_share_nothing() -> None:
    for axis in ("surrogate=ssl:small,ssl:plain", "seed=0,1", "ssl_steps=10,20", "groups=kmeans,label"):
        assert len(group_by_shared_stages(recipes_by_name(list_points(parse_axes([axis])), base=Recipe()))) == 2


@given(st.integers(0, 12), st.integers(0, 5))
def test_a_random_part_keeps_the_order_and_repeats_nothing(samples: int, seed: int) -> None:
    every = list_points(parse_axes(["clusters=2,3,4,5", "budget=8,16,32"]))
    found = draw_points(every, samples=samples, seed=seed)
    places = [every.index(point) for point in found]
    assert len(found) == samples
    assert all(one < other for one, other in pairwise(places))
    assert found == draw_points(every, samples=samples, seed=seed)


@given(st.text(min_size=1, max_size=120), st.text(min_size=1, max_size=120))
def test_names_are_file_names_and_tell_values_apart(one: str, other: str) -> None:
    names = [point_name({"surrogate": value}) for value in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    assert all(len(name) < 100 and not set(name) & set("/\\: \0") for name in names)
