"""Field: smooth within the budget at any size, groups far apart, mirror images too, and brightness as much as it is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from laws.method_worlds import World
from methods.test_drawn import entries, view

from ray_ue.loop import Workers
from ray_ue.methods import build
from ray_ue.methods._shared.far_apart import far_apart
from ray_ue.methods.field import Field, _count, _draw
from ray_ue.perturbations import Additive
from ray_ue.perturbations.budget import Budget

BUDGET = Budget(levels=16)


def fields(method: Field, home: Path, *, side: int = 64, seed: int = 0) -> torch.Tensor:
    return entries(method, home, per="group", side=side, budget=BUDGET, seed=seed)


def test_a_field_is_its_signs_interpolated(tmp_path: Path) -> None:
    made = fields(Field(), tmp_path)
    assert made.abs().max() == pytest.approx(BUDGET.radius)
    centers = made[:, :, 8::16, 8::16]  # of the cells; a pixel beside the centre is nearly it
    smooth = F.interpolate(centers.sign() * BUDGET.radius, (64, 64), mode="bicubic").clamp(-BUDGET.radius, BUDGET.radius)
    assert torch.allclose(made, smooth, atol=1e-6)
    assert max(float(made.diff(dim=axis).abs().max()) for axis in (2, 3)) < 0.25 * BUDGET.radius, "a sign turns over eight pixels or more"


@pytest.mark.parametrize(("luma", "share"), [(0, 0), (0.2, 0.2), (1 / 3, 1 / 3), (1, 1)])
def test_luma_is_the_share_of_brightness(luma: float, share: float) -> None:
    codes = np.concatenate([_draw(6, rng=np.random.default_rng(seed)) for seed in range(20)])
    colours = Field(luma=luma)._colours(codes)
    assert (colours.mean(3) ** 2).mean() == pytest.approx(share, abs=0.01)
    assert (colours**2).mean() == pytest.approx(1, abs=0.01)
    assert luma != 1 / 3 or np.allclose(colours, codes)


def test_groups_keep_away_from_each_other_and_from_mirror_images() -> None:
    method, rng = Field(), np.random.default_rng(0)

    def nearest(codes: np.ndarray) -> float:
        return min(float(method._nearest(codes[i : i + 1], codes[:i]).min()) for i in range(1, len(codes)))

    chosen = far_apart(10, draw=lambda: _draw(4, rng=rng), nearest=method._nearest)
    chance = [nearest(_draw(4, rng=rng)[:10]) for _ in range(20)]
    assert nearest(chosen) > max(chance)
    assert method._nearest(chosen[:1], chosen[1:2, :, ::-1]) == method._nearest(chosen[:1], chosen[1:2])
    assert method._nearest(chosen[:1], chosen[:1, :, ::-1]) == 0
    assert method._nearest(chosen[:1], chosen[1:2]) == 4 * min((chosen[0] != other).sum() for other in (chosen[1], chosen[1][:, ::-1]))


def test_a_picture_of_any_size_carries_the_same_field(tmp_path: Path) -> None:
    seen = view(tmp_path, per="group", side=32, budget=BUDGET)
    *_, last = Field().craft(seen, budget=BUDGET, aim=np.array([1, 2, 0]), seed=0, workers=Workers(), resume={})
    poison = Field().poison(last.state(), deltas=seen.deltas, budget=BUDGET)
    assert isinstance(poison, Additive)
    large, small = (fields(Field(), tmp_path, side=side)[1] * 255 for side in (240, 32))
    made = poison.delta(1, height=240, width=240).transpose(2, 0, 1)
    assert np.abs(made - large.numpy()).max() < 2.5
    assert np.abs(poison.delta(1, height=32, width=32).transpose(2, 0, 1) - small.numpy()).max() <= 0.5
    assert poison.delta(1, height=90, width=150).shape == (90, 150, 3)


def test_images_of_a_group_share_a_field_even_where_each_has_its_own_entry(tmp_path: Path) -> None:
    shared, own = (World(name="field", per=per, home=tmp_path / per) for per in ("group", "image"))  # type: ignore[arg-type]
    assert np.abs(shared.shown(shared.poison("a")).astype(int) - own.shown(own.poison("a"))).max() <= 1


def test_a_grid_of_one_cell_has_six_colours(tmp_path: Path) -> None:
    assert _count(1) == 6
    method = Field(grid=1)
    codes = far_apart(6, draw=lambda: _draw(1, rng=np.random.default_rng(0)), nearest=method._nearest)
    assert len(np.unique(codes.reshape(6, 3), axis=0)) == 6
    seen = view(tmp_path, per="image", rows=30)
    many = replace(seen, group_of=(np.arange(30) % 7).astype(np.int32), groups=7, centers=np.zeros((7, 2), np.float32))
    with pytest.raises(ValueError, match="7 groups need as many fields, but a grid of 1 has 6; use a larger grid"):
        method.slot_sampler(many, budget=BUDGET, seed=0)


def test_a_grid_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a grid of 9 does not fit into 8 pixels; --settings grid=8 or fewer"):
        fields(Field(grid=9), tmp_path, side=8)


@pytest.mark.parametrize(("settings", "words"), [("grid=0", "got 0 and"), ("luma=1.5", "got 4 and 1.5"), ("luma=nan", "got 4 and nan")])
def test_settings_that_cannot_work_are_refused(settings: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build("field", {"settings": settings})
