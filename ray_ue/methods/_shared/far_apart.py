"""A pattern for each group that is far from those of the groups before it: one choice at a time, among random candidates."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped

CANDIDATES, COMPARED = 60, 500  # patterns that a group chooses from; earlier groups that it keeps away from

Patterns = Shaped[np.ndarray, "_ ..."]


def far_apart(groups: int, *, draw: Callable[[], Patterns], nearest: Callable[[Patterns, Patterns], Float[np.ndarray, " _"]]) -> Patterns:
    """One pattern per group. `draw` gives some candidates, `nearest(candidates, before)` each one's distance from the nearest of `before`.

    The first group takes the first candidate, each later one the candidate that is farthest from the nearest group before it.
    """
    chosen: list[np.ndarray] = []
    for _ in range(groups):
        candidates = draw()
        place = int(nearest(candidates, np.stack(chosen[-COMPARED:])).argmax()) if chosen else 0
        chosen.append(candidates[place])
    return np.stack(chosen)
