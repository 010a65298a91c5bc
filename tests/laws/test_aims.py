"""What every aim must do."""

import numpy as np
import pytest

from ray_ue.objectives.aims import AIMS

CENTERS = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)


@pytest.mark.parametrize("name", AIMS)
@pytest.mark.parametrize("slots", [2, 3, 7])
def test_no_slot_aims_at_itself(name: str, slots: int) -> None:
    aim = AIMS[name](CENTERS[:slots], np.random.default_rng(0))
    assert aim.shape == (slots,)
    assert (aim != np.arange(slots)).all()
    assert ((aim >= 0) & (aim < slots)).all()


@pytest.mark.parametrize("name", AIMS)
def test_the_same_generator_gives_the_same_aim(name: str) -> None:
    first, second = (AIMS[name](CENTERS, np.random.default_rng(3)) for _ in range(2))
    assert (first == second).all()


def test_farthest_is_the_farthest() -> None:
    line = np.array([[0.0], [1.0], [5.0]], np.float32)
    assert AIMS["farthest"](line, np.random.default_rng(0)).tolist() == [2, 2, 0]
