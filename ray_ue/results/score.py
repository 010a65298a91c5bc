"""Means and spreads over seeds, and when two of them differ."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95  # of the interval of a difference


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a difference lies with `CONFIDENCE`: around `middle`, from `low` to `high`; both are nan where a spread is unknown."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Score:
    """Mean and sample standard deviation (ddof = 1) of `n` seeds; the mean of no seeds and the spread of fewer than two are nan."""

    mean: float
    spread: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Score":
        """Sums are exact, so the order of the values does not matter. Missing values are ignored."""
        known_values = [value for value in values if value is not None and not math.isnan(value)]
        mean = statistics.fmean(known_values) if known_values else math.nan
        return cls(mean=mean, spread=statistics.stdev(known_values) if len(known_values) > 1 else math.nan, n=len(known_values))

    def minus(self, other: "Score") -> Interval:
        """The difference of the means with its interval by Welch's t-test, which lets both spreads differ and counts few seeds as few.

        A bootstrap over seeds was the alternative: with two to five of them its intervals are too short.
        """
        middle = self.mean - other.mean
        if math.isnan(middle + self.spread + other.spread):
            return Interval(middle=middle, low=math.nan, high=math.nan)
        one, two = self.spread**2 / self.n, other.spread**2 / other.n
        if one + two == 0:
            return Interval(middle=middle, low=middle, high=middle)
        freedom = (one + two) ** 2 / (one**2 / (self.n - 1) + two**2 / (other.n - 1))
        reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(one + two)
        return Interval(middle=middle, low=middle - reach, high=middle + reach)

    def is_below(self, other: "Score") -> bool:
        """Whether the interval of the difference lies below 0; False if a spread is unknown."""
        return other.minus(self).low > 0
