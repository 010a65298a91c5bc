"""The control of a random pattern per group: its energy, its blocks, one pattern a group."""

import numpy as np
import pytest

from ray_ue.perturbations.controls import pattern_per_group


@pytest.mark.parametrize("side", [64, 200])
def test_a_pattern_has_the_energy_that_was_asked_for(side: int) -> None:
    pattern = pattern_per_group(3, levels=12.6, seed=0)
    grey = np.full((side, side, 3), 128, np.uint8)
    change = pattern.apply(grey, 1).astype(int) - 128
    assert np.abs(change).max() == pattern.most == 13
    assert np.sqrt((change**2).mean()) == pytest.approx(13, rel=0.1), "edges of the squares are smooth where a picture is larger"


def test_groups_have_patterns_of_their_own_and_a_seed_repeats_them() -> None:
    one, again, other = (pattern_per_group(20, levels=8, seed=seed).bank for seed in (0, 0, 1))
    assert (one == again).all()
    assert (one != other).any()
    assert len(np.unique(one.reshape(20, -1), axis=0)) == 20
    assert (one[0, 0, :8, :8] == one[0, 0, 0, 0]).all()
