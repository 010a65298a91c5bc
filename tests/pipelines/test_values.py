"""Python callers pass values; the request is the one that the command line's words make."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ray_ue
from ray_ue import Budget, Grid, Recipe
from ray_ue.config import victims
from ray_ue.config.recipe import Resources
from ray_ue.exploiter import defenses
from ray_ue.methods import METHODS, MIUE, UC, Concept, GivenPerturbation, build
from ray_ue.pipelines.values import recipe_from, split_resources, word


def test_a_method_and_a_budget_are_the_words_of_the_command_line() -> None:
    recipe = recipe_from({"method": UC(steps=300), "budget": Budget(8), "also_clusters": [20, 50]})
    assert recipe == Recipe(method="uc", settings="steps=300", budget="8/255", also_clusters="20,50")


@pytest.mark.parametrize("method", [kind() for kind in METHODS.values() if kind not in (Concept, GivenPerturbation)])
def test_every_method_comes_back_from_its_words(method: object) -> None:
    recipe = recipe_from({"method": method})
    assert build(recipe.method, asdict(recipe)) == method


def test_settings_that_differ_come_back_too() -> None:
    for method in (UC(parameterization="generator", augment="after", learning_rate=0.25), MIUE(network="fast", self_pair=False, zeta=0.5)):
        recipe = recipe_from({"method": method})
        assert build(recipe.method, asdict(recipe)) == method


def test_what_cannot_be_a_request_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recipe field is called 'budgets'; did you mean 'budget'"):
        recipe_from({"budgets": 8})
    with pytest.raises(ValueError, match=r"UC\(.*has its settings already; leave out settings='steps=3'"):
        recipe_from({"method": UC(), "settings": "steps=3"})
    with pytest.raises(ValueError, match=r"object at .* is no method; pass a name or a value of UC, Texture, Field, MIUE"):
        recipe_from({"method": object()})


def test_defenses_add_and_are_checked_at_birth() -> None:
    both = defenses.Jpeg(30) + defenses.Cutmix(0.5)
    assert word([defenses.Jpeg(10), both, "none"]) == "jpeg:10,jpeg:30+cutmix:0.5,none"
    assert Grid(defenses=word([defenses.Jpeg(10), both])).defense_names() == ("jpeg:10", "jpeg:30+cutmix:0.5")
    with pytest.raises(ValueError, match="jpeg: the JPEG quality is a whole number from 1 to 95, got 200"):
        defenses.Jpeg(200)
    with pytest.raises(AttributeError, match="no defense is called Jpg; there are None, Grayscale, Jpeg"):
        defenses.Jpg  # noqa: B018


def test_lists_paths_and_victims_are_words() -> None:
    assert word(["fast", victims.parse_victim("simclr:small")]) == "fast,simclr:small"
    assert word([Path("a/b"), 0.2]) == "a/b,0.2"


def test_resources_may_stand_beside_the_other_keyword_arguments() -> None:
    others, resources = split_resources({"method": "noise", "workers": 2, "part": 0.5}, Resources(keep_weights=False))
    assert others == {"method": "noise"}
    assert resources == Resources(workers="2", part=0.5, keep_weights=False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("wrong", [None, 3, ["photos"], b"photos"], ids=str)
@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda wrong: ray_ue.protect(wrong, "out"), "source"),
        (lambda wrong: ray_ue.protect("photos", wrong), "output"),
        (lambda wrong: ray_ue.check(wrong), "the copy"),
        (lambda wrong: ray_ue.evaluate("out", test=wrong), "test"),
        (lambda wrong: ray_ue.evaluate(wrong, test="test"), "a copy"),
        (lambda wrong: ray_ue.measure(wrong), "a run"),
        (lambda wrong: ray_ue.sweep("photos", wrong, test="test", vary="budget=8,16"), "output"),
    ],
    ids=["source", "output", "check", "test", "copy", "measure", "sweep"],
)
def test_what_is_no_address_is_refused(call: Callable[[object], object], what: str, wrong: object) -> None:
    """A None that was made a text would be a folder of that name."""
    with pytest.raises(
        ValueError, match=f"^{what} is {re.escape(repr(wrong))}; name a folder or an address, as text or as a pathlib.Path$"
    ):
        call(wrong)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"image_size": "large"}, "image_size is 'large'; it takes a whole number"),
        ({"clusters": None}, "clusters is None; it takes a whole number"),
        ({"seed": 1.5}, "seed is 1.5; it takes a whole number"),
        ({"max_rejected": "few"}, "max_rejected is 'few'; it takes a number"),
        ({"strip": 3}, "strip is 3; it takes one of location, all, none"),
        ({"resize": True}, "resize is True; it takes a whole number"),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_one_sentence(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        recipe_from(given)


def test_numbers_of_numpy_and_auto_are_what_they_say() -> None:
    assert recipe_from({"clusters": "auto", "image_size": np.int64(64), "max_rejected": 1, "also_clusters": 20}) == Recipe(
        clusters=0, image_size=64, max_rejected=1.0, also_clusters="20"
    )
    assert type(recipe_from({"image_size": np.int64(64)}).image_size) is int
    with pytest.raises(ValueError, match="keep_weights is 'no'; it takes True or False"):
        split_resources({"keep_weights": "no"}, Resources())
