"""OPS and CUDA: what their papers say of pixels and kernels, searched in parts or whole, by one worker or several."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ray_ue.loop import Workers
from ray_ue.methods import Method, View, ops
from ray_ue.methods.cuda import CUDA
from ray_ue.methods.ops import COLOURS, OPS
from ray_ue.models.pretrained.surrogates import blank
from ray_ue.perturbations import Filter, Pixel, Poison
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.storage.artifacts import Folder

BUDGET = Budget(levels=8)
GROUPS, SIDE = 4, 6
PIXELS = np.random.default_rng(0).integers(0, 256, (40, SIDE, SIDE, 3), dtype=np.uint8)


def view(home: Path, *, pixels: np.ndarray = PIXELS, groups: int = GROUPS, group_of: np.ndarray | None = None, per: str = "group") -> View:
    found = ((np.arange(len(pixels)) % groups) if group_of is None else group_of).astype(np.int32)
    side = pixels.shape[1]
    return View(
        pixels=pixels,
        slot_of=found if per == "group" else np.arange(len(pixels), dtype=np.int32),
        slots=groups if per == "group" else len(pixels),
        group_of=found,
        groups=groups,
        centers=np.zeros((groups, 2), np.float32),
        surrogate=blank(side, device=torch.device("cpu")),
        deltas=DeltaTable(home=Folder.at(str(home)), rows=len(pixels), side=side, pools=1, budget=BUDGET),
    )


def poison(method: Method, seen: View, *, seed: int = 0) -> Poison:
    aim = np.roll(np.arange(seen.groups), 1)
    *_, last = method.craft(seen, budget=BUDGET, aim=aim, seed=seed, workers=Workers(), resume={})
    return method.poison(last.state(), deltas=seen.deltas, budget=BUDGET)


def found(seen: View) -> Pixel:
    made = poison(OPS(), seen)
    assert isinstance(made, Pixel)
    return made


def test_the_search_finds_what_the_papers_loops_find(tmp_path: Path) -> None:
    made = found(view(tmp_path))
    taken: set[tuple[int, ...]] = set()
    for group in range(GROUPS):
        rows, best, where = PIXELS[group::GROUPS] / 255, -1.0, (0, 0, 0, 0, 0)
        for row in range(SIDE):
            for column in range(SIDE):
                for colour in COLOURS:
                    away = np.abs(colour - rows[:, row, column])
                    if (row, column, *colour) not in taken and away.mean() / away.std() > best:
                        best, where = away.mean() / away.std(), (row, column, *colour)
        taken.add(where)
        assert (*made.places[group], *(made.colours[group] // 255)) == where


def test_no_two_groups_share_a_pixel_and_colour(tmp_path: Path) -> None:
    made = found(view(tmp_path, pixels=np.tile(PIXELS[:1], (8, 1, 1, 1))))
    assert len({(*place, *colour) for place, colour in zip(made.places.tolist(), made.colours.tolist())}) == GROUPS


def test_parts_find_what_the_whole_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(view(tmp_path))
    monkeypatch.setattr(ops, "HELD", 48 * SIDE**2 * 3)
    monkeypatch.setattr(ops, "BLOCK", 3 * SIDE**2 * 7)
    seen = view(tmp_path)
    steps = []
    for step in OPS().craft(seen, budget=BUDGET, aim=np.arange(GROUPS), seed=0, workers=Workers(), resume={}):
        steps.append(step.state())
    assert len(steps) == 2
    *_, resumed = OPS().craft(seen, budget=BUDGET, aim=np.arange(GROUPS), seed=0, workers=Workers(), resume=steps[0])
    assert resumed.step == 2
    for state in (steps[1], resumed.state()):
        made = OPS().poison(state, deltas=seen.deltas, budget=BUDGET)
        assert isinstance(made, Pixel)
        assert (made.places == whole.places).all()
        assert (made.colours == whole.colours).all()
    assert not list(OPS().craft(seen, budget=BUDGET, aim=np.arange(GROUPS), seed=0, workers=Workers(), resume=steps[1]))


def test_a_group_without_images_and_one_that_never_varies_get_a_pixel(tmp_path: Path) -> None:
    pixels = PIXELS[:6].copy()
    pixels[:, 2, 3] = [255, 0, 255]
    made = found(view(tmp_path, pixels=pixels, groups=3, group_of=np.array([0, 0, 0, 2, 2, 2])))
    assert made.places[0].tolist() == [2, 3], "always the same, so what is farthest from it stands out most"
    assert made.colours[0].tolist() == [0, 255, 0]
    assert made.slots == 3


def test_more_groups_than_pixels_and_colours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="9 groups need as many pixels and colours, but 1 x 1 pixels have 8"):
        found(view(tmp_path, pixels=PIXELS[:, :1, :1], groups=9))


@pytest.mark.parametrize(("kernel", "blur"), [(3, 0.3), (9, 0.06)])
def test_kernels_are_the_papers(kernel: int, blur: float, tmp_path: Path) -> None:
    made = poison(CUDA(kernel=kernel, blur=blur), view(tmp_path))
    assert isinstance(made, Filter)
    assert made.kernels.shape == (GROUPS, kernel, kernel)
    assert made.side == SIDE
    assert ((made.kernels == 1).sum((1, 2)) == 1).all()
    rest = made.kernels[made.kernels != 1]
    assert 0 <= rest.min() < 0.1 * blur
    assert 0.9 * blur < rest.max() <= blur


@pytest.mark.parametrize("method", [OPS(), CUDA()], ids=["ops", "cuda"])
def test_with_an_entry_per_image_each_has_its_groups(method: Method, tmp_path: Path) -> None:
    shared, own = poison(method, view(tmp_path)), poison(method, view(tmp_path, per="image"))
    assert own.slots == len(PIXELS)
    for row, clean in enumerate(PIXELS):
        assert (own.apply(clean, row) == shared.apply(clean, row % GROUPS)).all()


@pytest.mark.parametrize("settings", [{"kernel": 4}, {"kernel": 0}, {"blur": -0.1}])
def test_values_that_mean_nothing_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="an odd kernel and a blur of 0 or more, got"):
        CUDA(**settings)
