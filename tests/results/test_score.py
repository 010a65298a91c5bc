import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from ray_ue.results.score import Score


def test_the_interval_is_that_of_welchs_test() -> None:
    one, two = [0.7, 0.72, 0.69, 0.75, 0.71], [0.5, 0.6, 0.55]
    expected = ttest_ind(one, two, equal_var=False).confidence_interval(0.95)
    found = Score.of(one).minus(Score.of(two))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.middle == pytest.approx(np.mean(one) - np.mean(two))


def test_two_seeds_must_differ_much_and_five_less() -> None:
    apart = [0.50, 0.54], [0.58, 0.62]
    assert not Score.of(apart[0]).is_below(Score.of(apart[1]))
    assert Score.of(apart[0] * 3).is_below(Score.of(apart[1] * 3))
    assert not Score.of(apart[1] * 3).is_below(Score.of(apart[0] * 3))


def test_one_seed_tells_nothing() -> None:
    interval = Score.of([0.1]).minus(Score.of([0.9, 0.91]))
    assert interval.middle == pytest.approx(-0.805)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert not Score.of([0.1]).is_below(Score.of([0.9, 0.91]))


def test_equal_values_have_an_interval_without_width() -> None:
    found = Score.of([0.5, 0.5]).minus(Score.of([0.25, 0.25]))
    assert (found.low, found.middle, found.high) == (0.25, 0.25, 0.25)
    assert not Score.of([0.5, 0.5]).is_below(Score.of([0.5, 0.5]))
