"""Texture: its groups' waves keep apart, no picture is looked at, and a small network learns them in place of the pictures."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from laws.method_worlds import World

from ray_ue.cli.demo import LEFT, SCHEDULE, as_seen, cut_crops
from ray_ue.exploiter.dataset import Training
from ray_ue.exploiter.supervised import accuracy, train
from ray_ue.loop import Workers
from ray_ue.methods import View, build
from ray_ue.methods._shared.proxy_victim import ProxyVictim
from ray_ue.methods.base import Step, by_group
from ray_ue.methods.texture import PALETTES, Texture, _distances, _far_apart
from ray_ue.models.classifiers import classifier
from ray_ue.models.pretrained.surrogates import blank
from ray_ue.perturbations import Waves
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.controls import pattern_per_group
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.storage.artifacts import Folder

CPU = torch.device("cpu")


def test_groups_differ_more_than_random_sets_do() -> None:
    method = Texture()
    angles, speeds, colours = method._bank()
    assert len(angles) == 72
    assert (speeds.min(), speeds.max()) == (pytest.approx(4.5), pytest.approx(8))
    distance = _distances(angles, speeds, colours)
    assert np.allclose(distance, distance.T)
    assert np.allclose(np.diag(distance), 0)

    def nearest(chosen: np.ndarray) -> float:
        pairs = [(a, b) for i, a in enumerate(chosen) for b in chosen[:i]]
        return min(float(distance[np.ix_(a, b)].min(1).sum() + distance[np.ix_(a, b)].min(0).sum()) for a, b in pairs)

    rng = np.random.default_rng(0)
    chosen = _far_apart(10, 2, distance=distance, rng=rng)
    chance = [nearest(np.stack([rng.permutation(72)[:2] for _ in range(10)])) for _ in range(20)]
    assert nearest(chosen) > max(chance)
    assert len({tuple(sorted(waves)) for waves in _far_apart(300, 2, distance=distance, rng=rng).tolist()}) == 300


def test_shades_beside_brightness_change_brightness_little() -> None:
    assert (np.abs(PALETTES["shades"][1:].sum(1)) < 1e-9).all()


def test_corners_use_the_whole_budget_in_hues_far_apart() -> None:
    corners = PALETTES["corners"]
    assert (np.abs(corners) == 1).all()
    hues = corners[1:] - corners[1:].mean(1, keepdims=True)
    hues /= np.linalg.norm(hues, axis=1, keepdims=True)
    assert np.allclose((hues @ hues.T)[~np.eye(3, dtype=bool)], -0.5)  # 120 degrees
    assert len(Texture()._bank()[0]) == 72
    assert len(Texture(colours="shades")._bank()[0]) == 90


def test_images_of_a_group_share_waves_even_where_each_has_its_own_entry(tmp_path: Path) -> None:
    shared, own = (World(name="texture", per=per, home=tmp_path / per) for per in ("group", "image"))  # type: ignore[arg-type]
    by_group, by_image = shared.poison("a"), own.poison("a")
    assert isinstance(by_group, Waves)
    assert isinstance(by_image, Waves)
    groups = own.view("a").group_of_slot()
    assert (by_image.cycles == by_group.cycles[groups]).all()
    assert by_image.salt == by_group.salt


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("waves=0", "1 to 72 waves, got 0"),
        ("colours=shades,waves=91", "1 to 90 waves, got 91"),
        ("slowest=9", "0 < slowest <= fastest.*got slowest=9, fastest=8"),
        ("gain=0", "gain above 0.*gain=0"),
        ("gain=nan", "gain above 0.*gain=nan"),
        ("waves=73", "1 to 72 waves, got 73"),
        ("colours=pastel", "palette of texture.*shades"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build("texture", {"settings": settings})


@pytest.mark.slow
def test_texture_beats_random_patterns_of_its_energy_where_groups_are_not_pure() -> None:
    """Crops of ten photographs, a tenth of them in a wrong group: what protects must do more than any pattern per group would."""
    crops, labels = cut_crops(count=60, begin=0, end=LEFT, seed=0)
    test, truth = cut_crops(count=20, begin=LEFT, end=1, seed=1)
    rng = np.random.default_rng(0)
    groups = np.where(rng.random(len(labels)) < 0.1, rng.integers(0, 10, len(labels)), labels)
    texture = textured(groups, crops)
    strength = float(np.sqrt(np.square(texture.astype(float) - crops).mean()))
    patterns = pattern_per_group(10, levels=strength, seed=0)
    random = np.stack([patterns.apply(crop, int(group)) for crop, group in zip(crops, groups, strict=True)])
    reached = {
        name: np.mean(list(accuracies(published, labels, test, truth))) for name, published in (("texture", texture), ("random", random))
    }
    assert reached["texture"] < reached["random"] - 0.05, reached


def textured(groups: np.ndarray, crops: np.ndarray) -> np.ndarray:
    method, budget = Texture(), Budget(levels=16)
    slots = np.arange(10, dtype=np.int32)
    blanks, centers = np.zeros((10, 8, 8, 3), np.uint8), np.eye(10, dtype=np.float32)
    table = DeltaTable(home=Folder.at("/nowhere"), rows=10, side=8, pools=1, budget=budget)
    surrogate = blank(8, device=torch.device("cpu"))
    view = View(
        pixels=blanks, slot_of=slots, slots=10, group_of=slots, groups=10, centers=centers, surrogate=surrogate, deltas=table, also=()
    )
    (step,) = method.craft(view, budget=budget, aim=np.roll(slots, 1), seed=0, workers=Workers(), resume={})
    poison = method.poison(step.state(), deltas=table, budget=budget)
    return np.stack([poison.apply(crop, int(group), key=str(row)) for row, (crop, group) in enumerate(zip(crops, groups, strict=True))])


def accuracies(published: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray) -> Iterator[float]:
    """Clean-test accuracy of two small victims."""
    seen = as_seen(published)
    training = Training(pixels=seen, clean=seen, labels=labels, classes=10)
    for seed in range(2):
        net = classifier("fast", side=32, classes=10, sample=seen, seed=seed)
        run = {"seed": seed, "device": torch.device("cpu"), "workers": Workers(), "resume": {}}
        for _ in train(training, net=net, schedule=SCHEDULE, size=32, flips=0.5, **run):
            pass
        yield accuracy(net, as_seen(test), truth, size=32)


def comparing(tmp_path: Path, *, tries: int) -> tuple[Texture, View]:
    world = World(name="texture", per="group", home=tmp_path)
    view = world.view("a")
    return Texture(tries=tries), replace(view, also=(view.group_of,))


def test_of_several_choices_the_one_that_teaches_least_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, view = comparing(tmp_path, tries=3)
    budget = Budget(levels=16)
    learnt = iter([0.5, 0.2, 0.4])
    monkeypatch.setattr(ProxyVictim, "learnt", lambda self, poison: next(learnt))
    steps = list(method.craft(view, budget=budget, aim=np.arange(view.groups), seed=5, workers=Workers(), resume={}))
    assert [step.loss for step in steps] == [0.5, 0.2, 0.2]
    chosen, second = steps[-1].state(), method._draw(view, seed=5, turn=1)
    assert all(torch.equal(chosen[name], second[name]) for name in second)
    assert torch.equal(steps[0].state()["cycles"], next(iter(craft(Texture(), view, seed=5))).state()["cycles"])


def test_a_killed_comparison_goes_on_with_the_next_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, view = comparing(tmp_path, tries=3)
    learnt = {"now": iter([0.5, 0.2, 0.4])}
    monkeypatch.setattr(ProxyVictim, "learnt", lambda self, poison: next(learnt["now"]))
    whole = [step.state() for step in craft(method, view, seed=5)]
    learnt["now"] = iter([0.4])
    (last,) = [step.state() for step in craft(method, view, seed=5, resume=whole[1])]
    assert all(torch.equal(last[name], whole[-1][name]) for name in last)


def craft(method: Texture, view: View, *, seed: int, resume: dict | None = None) -> Iterator[Step]:
    return method.craft(view, budget=Budget(levels=16), aim=np.arange(view.groups), seed=seed, workers=Workers(), resume=resume or {})


def test_a_proxy_victim_learns_clean_images_and_not_those_whose_pattern_names_the_label(tmp_path: Path) -> None:
    pixels, labels = cut_crops(count=60, begin=0, end=1, seed=0)
    labels = labels.astype(np.int32)
    centers = np.zeros((10, 1), np.float32)
    view = by_group(pixels, group_of=labels, centers=centers, surrogate=blank(64, device=CPU), budget=Budget(levels=16))
    proxy = ProxyVictim.of(view, seed=0)
    state = Texture()._draw(view, seed=0, turn=0)
    strong = Texture().poison(state, deltas=view.deltas, budget=Budget(levels=32))
    weak = Texture(gain=0.01).poison(state, deltas=view.deltas, budget=Budget(levels=1))
    assert (learnt := proxy.learnt(weak)) > 0.5
    assert proxy.learnt(strong) < learnt - 0.2
