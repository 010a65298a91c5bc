"""Values inside a name such as `jpeg:10`: their ranges, defaults and errors."""

import math
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Integer:
    """A whole number from `low` to `high`, both included."""

    about: str
    default: int
    low: int
    high: int

    def read(self, text: str, *, of: str) -> int:
        number = _number(text, of=of, about=self.about, example=f"{self.default}")
        if number != int(number) or not self.low <= number <= self.high:
            raise ValueError(f"{of}: the {self.about} is a whole number from {self.low} to {self.high}, got {text}")
        return int(number)


@dataclass(frozen=True, kw_only=True)
class Real:
    """A number above `above` and up to `high`."""

    about: str
    default: float
    above: float
    high: float

    def read(self, text: str, *, of: str) -> float:
        number = _number(text, of=of, about=self.about, example=f"{self.default:g}")
        if not self.above < number <= self.high:
            raise ValueError(f"{of}: the {self.about} is above {self.above:g} and at most {self.high:g}, got {text}")
        return number


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a few words."""

    about: str
    default: str
    words: tuple[str, ...]

    def read(self, text: str, *, of: str) -> str:
        if text not in self.words:
            raise ValueError(f"{of}: the {self.about} is {' or '.join(self.words)}, got {text!r}")
        return text


Parameter = Integer | Real | Choice


def _number(text: str, *, of: str, about: str, example: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{of}: the {about} is a number such as {example}, got {text!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{of}: the {about} is a number such as {example}, got {text!r}")
    return number


def list_some(kinds: list[str]) -> str:
    """Up to five names in a row, and how many more there are."""
    return ", ".join(kinds[:5]) + (f" and {len(kinds) - 5} more" if len(kinds) > 5 else "")
