"""Array aliases and the axis legend; imports nothing of ours, and not torch: tasks that only read bytes start without it.

Axes: N rows of the collection, n rows of a sample, B rows of a batch, S slots, D feature width, C H W channels, height, width.
Pixels are uint8 RGB in `H W 3` order outside torch and float in [0, 1] in `B 3 H W` order inside it.
"""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, Int8, Int32, UInt8

Rng = np.random.Generator
Pixels = UInt8[np.ndarray, "H W 3"]
PixelBlock = UInt8[np.ndarray, "n H W 3"]
SlotOf = Int32[np.ndarray, " n"]
Vectors = Float32[np.ndarray, "n D"]
Centers = Float32[np.ndarray, "S D"]
Bank = Int8[np.ndarray, "S 3 h w"]

T = TypeVar("T")


def pick(table: Mapping[str, T], name: str, *, what: str) -> T:
    """The entry called `name`; a `ValueError` names the nearest one and lists what there is."""
    if name not in table:
        raise unknown(name, sorted(table), what=what)
    return table[name]


def unknown(name: str, names: Collection[str], *, what: str) -> ValueError:
    """What to raise for a `name` that is none of `names`."""
    near = get_close_matches(name, names, n=1)
    return ValueError(f"no {what} is called {name!r}; {f'did you mean {near[0]!r}? ' if near else ''}there are {', '.join(names)}")
