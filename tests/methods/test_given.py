"""A published perturbation: it comes through unchanged, and what does not fit is refused with what would."""

from pathlib import Path

import numpy as np
import pytest
import torch
from laws.method_worlds import GROUPS, ROWS, SIDE

from ray_ue.loop import Workers
from ray_ue.methods import Per, View, build
from ray_ue.methods.given import GivenPerturbation
from ray_ue.models.pretrained.surrogates import blank
from ray_ue.perturbations import Additive, Streamed
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.storage.artifacts import Folder

BUDGET = Budget(levels=8)
RNG = np.random.default_rng(0)
OWN = RNG.integers(-8, 9, (ROWS, 3, SIDE, SIDE), dtype=np.int8)
SHARED = OWN[:GROUPS]


def crafted(path: Path, *, per: Per, budget: Budget = BUDGET) -> np.ndarray:
    groups = (np.arange(ROWS) % GROUPS).astype(np.int32)
    view = View(
        pixels=np.zeros((ROWS, SIDE, SIDE, 3), np.uint8),
        slot_of=groups if per == "group" else np.arange(ROWS, dtype=np.int32),
        slots=GROUPS if per == "group" else ROWS,
        group_of=groups,
        groups=GROUPS,
        centers=np.zeros((GROUPS, 2), np.float32),
        surrogate=blank(SIDE, device=torch.device("cpu")),
        deltas=DeltaTable(home=Folder.at(str(path.parent / "table")), rows=ROWS, side=SIDE, pools=2, budget=budget),
    )
    method = GivenPerturbation(file=str(path))
    *_, last = method.craft(view, budget=budget, aim=np.arange(GROUPS), seed=0, workers=Workers(), resume={})
    poison = method.poison(last.state(), deltas=view.deltas, budget=budget)
    assert isinstance(poison, Additive | Streamed)
    return np.concatenate(list(poison.blocks()))


@pytest.mark.parametrize("per", ["group", "image"])
@pytest.mark.parametrize("levels", [8, 16, 127])
def test_the_poison_is_what_the_file_holds(per: Per, levels: int, tmp_path: Path) -> None:
    bank = SHARED if per == "group" else OWN
    np.save(tmp_path / "d.npy", (bank / 255).astype(np.float32).transpose(0, 2, 3, 1))
    assert (crafted(tmp_path / "d.npy", per=per, budget=Budget(levels=levels)) == bank).all()


@pytest.mark.parametrize(
    ("bank", "per", "message"),
    [
        (SHARED, "image", "has 4 entries for 48 images; --per group would fit"),
        (OWN, "group", "has 48 entries for 4 groups; --per image would fit"),
        (OWN[:-1], "image", "has 47 entries for 48 images; there must be one for each"),
        (OWN[:, :, :6, :6], "image", "is of 6 x 6 pixels, but images are 8 x 8 here; --image-size 6 would fit"),
        (2 * OWN, "image", "reaches 16 levels, but the budget is 8/255; --budget 16/255 would fit"),
    ],
)
def test_what_does_not_fit_is_refused(bank: np.ndarray, per: Per, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", bank)
    with pytest.raises(ValueError, match=message):
        crafted(tmp_path / "d.npy", per=per)


def test_it_is_known_by_its_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", OWN)
    np.save(tmp_path / "b.npy", OWN)
    np.save(tmp_path / "c.npy", -OWN)
    one, same, other = (GivenPerturbation(file=str(tmp_path / name)).identity() for name in ("a.npy", "b.npy", "c.npy"))
    assert one == same != other


def test_a_recipe_names_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", OWN)
    assert build("given", {"settings": f"file={tmp_path / 'a.npy'}"}) == GivenPerturbation(file=str(tmp_path / "a.npy"))
    with pytest.raises(ValueError, match="needs its file: --settings file=PATH"):
        build("given", {"settings": ""})
