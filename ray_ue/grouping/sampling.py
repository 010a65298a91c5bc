"""Random samples of row ids."""

import numpy as np
from jaxtyping import Int64


def draw_sample(rows: int, *, size: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Sorted ids of a random sample without replacement; all of them when `size` covers the collection."""
    if size >= rows:
        return np.arange(rows, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(rows, size, replace=False)).astype(np.int64)


def between(ids: Int64[np.ndarray, " n"], begin: int, end: int) -> Int64[np.ndarray, " _"]:
    """Those of the ascending `ids` from `begin` to below `end`, found by bisection: chunk after chunk costs no scan of all ids."""
    first, last = np.searchsorted(ids, (begin, end))
    return ids[first:last]
