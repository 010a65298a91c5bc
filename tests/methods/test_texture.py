"""Texture: its groups' waves keep apart, no picture is looked at, and a small network learns them in place of the pictures."""

from pathlib import Path

import numpy as np
import pytest
from laws.method_worlds import World

from ray_ue.methods import build
from ray_ue.methods.texture import COLOURS, Texture, _distances, _far_apart
from ray_ue.perturbations import Waves


def test_groups_differ_more_than_random_sets_do() -> None:
    method = Texture()
    angles, speeds, colours = method._bank()
    assert len(angles) == 90
    assert (speeds.min(), speeds.max()) == (pytest.approx(4.5), pytest.approx(8))
    distance = _distances(angles, speeds, colours)
    assert np.allclose(distance, distance.T)
    assert np.allclose(np.diag(distance), 0)

    def nearest(chosen: np.ndarray) -> float:
        pairs = [(a, b) for i, a in enumerate(chosen) for b in chosen[:i]]
        return min(float(distance[np.ix_(a, b)].min(1).sum() + distance[np.ix_(a, b)].min(0).sum()) for a, b in pairs)

    rng = np.random.default_rng(0)
    chosen = _far_apart(10, 2, distance=distance, rng=rng)
    chance = [nearest(np.stack([rng.permutation(90)[:2] for _ in range(10)])) for _ in range(20)]
    assert nearest(chosen) > max(chance)
    assert len({tuple(sorted(waves)) for waves in _far_apart(300, 2, distance=distance, rng=rng).tolist()}) == 300


def test_colours_beside_brightness_change_brightness_little() -> None:
    assert (np.abs(COLOURS[1:].sum(1)) < 1e-9).all()


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
        ("waves=0", "1 to 90 waves, got 0"),
        ("waves=91", "1 to 90 waves, got 91"),
        ("slowest=9", "0 < slowest <= fastest.*got slowest=9, fastest=8"),
        ("gain=0", "gain above 0.*gain=0"),
        ("gain=nan", "gain above 0.*gain=nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build("texture", {"settings": settings})
