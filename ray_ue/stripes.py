"""Stripes: a few lines of a picture at a time, so that work on a large one needs little memory beside its pixels."""

from collections.abc import Iterator

PIXELS = 2**16  # of a stripe: what is made of it stays in a processor's cache


def stripes(length: int, across: int, *, pixels: int = PIXELS) -> Iterator[slice]:
    """The lines 0 to `length`, of `across` pixels each, in slices of about that many pixels."""
    lines = max(1, pixels // max(1, across))
    for first in range(0, length, lines):
        yield slice(first, min(first + lines, length))
