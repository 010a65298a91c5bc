"""Waves: the formula, one place per picture, no mean in common, and the same waves at every size."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ray_ue.perturbations import Waves
from ray_ue.perturbations.budget import Budget

BUDGET = Budget(levels=16)


def waves(*, gain: float = 1.5, salt: int = 0, bend: float = 0.0) -> Waves:
    return Waves(
        cycles=np.array([[[5, 2], [-3, 6]]], np.float32),
        colours=np.array([[[1, 1, 1], [1, -1, 0]]], np.float32),
        phases=np.array([[0.3, 1.0]], np.float32),
        gain=gain,
        salt=salt,
        bend=bend,
        budget=BUDGET,
    )


def strength(delta: np.ndarray, cycles: tuple[float, float]) -> float:
    """How much of a delta's green and red is a wave of this frequency, at any phase."""
    height, width = delta.shape[:2]
    side = min(height, width)
    y, x = (np.arange(length)[:, None] / side for length in (height, width))
    wave = np.exp(-2j * np.pi * (cycles[0] * x.T + cycles[1] * y))
    return float(np.abs((delta[:, :, 0] * wave).mean()))


@pytest.mark.parametrize("bend", [0, 0.045])
def test_a_delta_is_the_clipped_sum_of_its_waves(bend: float) -> None:
    poison = waves(bend=bend)
    delta = poison.delta(0, height=40, width=60, key="a.jpg")
    assert delta.shape == (40, 60, 3)
    assert np.abs(delta).max() == 16
    right, down = poison._shift("a.jpg")
    for row, column in ((0, 0), (17, 41), (39, 59)):
        u, v = (column + 0.5 - 30) / 40 + right, (row + 0.5 - 20) / 40 + down
        u, v = u + bend * np.sin(2 * np.pi * v), v + bend * np.sin(2 * np.pi * u)
        grey, red = np.cos(2 * np.pi * (5 * u + 2 * v) + 0.3), np.cos(2 * np.pi * (-3 * u + 6 * v) + 1.0)
        scale = 16 * 1.5 / np.sqrt((1 + 2 / 3) / 2)
        wanted = np.rint(np.clip([(grey + red) * scale, (grey - red) * scale, grey * scale], -16, 16))
        assert np.abs(delta[row, column] - wanted).max() <= 1, "rounding in float32 may differ"


def test_a_small_gain_has_the_power_that_it_says() -> None:
    delta = waves(gain=0.4).delta(0, height=480, width=480, key="a").astype(float)
    assert np.sqrt((delta**2).mean()) == pytest.approx(0.4 * 16, rel=0.02)


def test_keys_and_salt_move_the_waves_and_nothing_else() -> None:
    one = waves().delta(0, height=64, width=64, key="a")
    assert (one == waves().delta(0, height=64, width=64, key="a")).all()
    for other in (waves().delta(0, height=64, width=64, key="b"), waves(salt=1).delta(0, height=64, width=64, key="a")):
        assert (one != other).any()
        assert strength(other, (5, 2)) == pytest.approx(strength(one, (5, 2)), rel=0.1)


def test_pictures_of_a_group_have_no_mean_in_common() -> None:
    deltas = np.stack([waves().delta(0, height=32, width=32, key=str(i)) for i in range(400)]).astype(float)
    assert np.abs(deltas.mean(0)).max() < 0.2 * np.abs(deltas).mean()


@pytest.mark.parametrize("side", [32, 96, 224])
def test_a_picture_that_is_resized_carries_the_same_waves(side: int) -> None:
    large = torch.from_numpy(waves().delta(0, height=448, width=448, key="a").astype(np.float32)).permute(2, 0, 1)[None]
    small = F.interpolate(large, (side, side), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    made = waves().delta(0, height=side, width=side, key="a").astype(float)
    assert np.corrcoef(small.ravel(), made.ravel())[0, 1] > 0.95


def test_bent_waves_have_no_line_in_the_spectrum_and_their_strength() -> None:
    straight, bent = (waves(gain=0.4, bend=bend).delta(0, height=224, width=224, key="a").astype(float) for bend in (0, 0.045))
    assert strength(bent, (5, 2)) < 0.8 * strength(straight, (5, 2))
    highest = [
        np.sort((np.abs(np.fft.fft2(delta[:, :, 0])) ** 2).ravel())[-4:].sum() / (224 * delta[:, :, 0]).var() for delta in (straight, bent)
    ]
    assert highest[1] < 0.6 * highest[0], "two waves are four lines of the spectrum; bent, they are many"
    assert np.sqrt((bent**2).mean()) == pytest.approx(np.sqrt((straight**2).mean()), rel=0.02)


@pytest.mark.parametrize("side", [4, 8, 12])
def test_waves_slow_down_where_they_would_alias(side: int) -> None:
    delta = waves(gain=0.5).delta(0, height=side, width=400, key="a").astype(float)
    spectrum = np.abs(np.fft.rfft(delta[:, :, 0], axis=1)).sum(0)
    assert spectrum.argmax() <= 400 / 3, "no period is shorter than three pixels"


def test_a_gain_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="gain is above 0, got a gain of 0"):
        waves(gain=0)


@pytest.mark.parametrize("bend", [-0.1, 1, float("nan")])
def test_a_bend_that_is_none_is_refused(bend: float) -> None:
    with pytest.raises(ValueError, match="less than 1 shorter side, got"):
        waves(bend=bend)
