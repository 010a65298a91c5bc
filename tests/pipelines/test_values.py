"""Python callers pass values; the request is the one that the command line's words make."""

from dataclasses import asdict
from pathlib import Path

import pytest

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
