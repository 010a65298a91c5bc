"""Poisons: exact where nothing is scaled, centred and mirrored where something is, and always inside the budget."""

from pathlib import Path

import numpy as np
import pytest

from ray_ue.budget import Budget, deviation
from ray_ue.poisons import Additive, mirrored

BUDGET = Budget(levels=16)
BANK = np.random.default_rng(0).integers(-16, 17, (3, 3, 32, 32), dtype=np.int8)
POISON = Additive(bank=BANK, budget=BUDGET)


def test_the_bank_entry_itself_at_its_own_size() -> None:
    assert (POISON.delta(1, height=32, width=32) == BANK[1].transpose(1, 2, 0)).all()


@pytest.mark.parametrize(("height", "width"), [(32, 77), (200, 32), (32, 33), (33, 32), (7, 140), (101, 8), (64, 64), (1, 20)])
def test_the_centre_of_any_shape_is_the_scaled_square(height: int, width: int) -> None:
    delta, side = POISON.delta(0, height=height, width=width), min(height, width)
    top, left = round((height - side) / 2), round((width - side) / 2)
    assert delta.shape == (height, width, 3)
    assert delta.dtype == np.int16
    assert (delta[top : top + side, left : left + side] == POISON.delta(0, height=side, width=side)).all()


def test_the_longer_side_is_a_mirror_on_both_ends() -> None:
    assert mirrored(8, 4).tolist() == [1, 0, 0, 1, 2, 3, 3, 2]
    assert mirrored(10, 2).tolist() == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1]
    wide = POISON.delta(2, height=32, width=96)
    assert (wide[:, :32] == wide[:, 32:64][:, ::-1]).all()
    assert (wide[:, 64:] == wide[:, 32:64][:, ::-1]).all()


@pytest.mark.parametrize("side", [9, 31, 50, 200])
def test_scaling_stays_in_budget_and_keeps_the_pattern(side: int) -> None:
    ramp = np.tile(np.linspace(-16, 16, 32).round().astype(np.int8), (1, 3, 32, 1))
    delta = Additive(bank=ramp, budget=BUDGET).delta(0, height=side, width=side)
    assert np.abs(delta).max() <= 16
    assert (np.diff(delta[side // 2, :, 0]) >= 0).all()
    assert abs(int(delta[0, 0, 0]) + 16) <= 3


def test_applying_measures_within_budget_even_at_the_ends_of_the_range() -> None:
    pixels = np.random.default_rng(1).choice(np.array([0, 3, 128, 252, 255], np.uint8), (45, 70, 3))
    published = POISON.apply(pixels, 2)
    assert 0 < deviation(pixels, published) <= 16
    inside = (pixels > 16) & (pixels < 239)
    assert ((published.astype(int) - pixels)[inside] == POISON.delta(2, height=45, width=70)[inside]).all()


def test_the_cache_never_changes_an_answer() -> None:
    first = POISON.delta(0, height=50, width=60).copy()
    for slot in range(3):
        for side in range(40, 70):
            POISON.delta(slot, height=side, width=side)
    assert (POISON.delta(0, height=50, width=60) == first).all()


def test_load_gives_back_what_was_saved(tmp_path: Path) -> None:
    POISON.save(tmp_path / "bank.safetensors")
    back = Additive.load(tmp_path / "bank.safetensors")
    assert back.budget == BUDGET
    assert back.bank.dtype == np.int8
    assert (back.bank == BANK).all()
    assert Additive.loads(POISON.dumps()).dumps() == POISON.dumps()


def test_a_bank_beyond_its_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="16 levels, but its budget is 8"):
        Additive(bank=BANK, budget=Budget(levels=8))


@pytest.mark.usefixtures("unchecked")
def test_a_bank_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="int8 with shape"):
        Additive(bank=BANK[:, :2], budget=BUDGET)


def test_a_slot_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no slot 3: the bank has 3"):
        POISON.delta(3, height=4, width=4)


def test_a_file_of_another_kind_is_refused() -> None:
    content = POISON.dumps().replace(b'"additive ', b'"filter__ ')
    with pytest.raises(ValueError, match="not an additive poison"):
        Additive.loads(content)
