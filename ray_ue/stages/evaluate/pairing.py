"""Pairs the rows of a protected copy with those of the clean source: by the ledger, by name, or by position."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from ray_ue.sources.naming import without_extension
from ray_ue.stages.evaluate.copies import ProtectedCopy, keys_by_name, ledger_names
from ray_ue.stages.protect.index import labels_of, rows_of, shard_lines
from ray_ue.storage.artifacts import Artifact

LEAST = 0.5  # of a copy's rows must be found in the source
CLOSER = 0.6  # of the mean distance between strangers: what a copy's rows must be nearer to their originals than


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Row ids that belong together, in the order of the clean ones; `exact` if the ledger of this very source says so."""

    clean: Int64[np.ndarray, " n"]
    copy: Int64[np.ndarray, " n"]
    exact: bool = False


def keys_of(index: Artifact) -> list[str]:
    """The name of every row, in id order."""
    return [key for line in shard_lines(index) if line["rows"] for key in rows_of(index.folder, line["shard"])["key"].to_pylist()]


def pair(clean: Artifact, copied: Artifact, copy: ProtectedCopy) -> Pairs:
    """The rows of a copy and their originals; a `ValueError` when they do not seem to belong to each other."""
    clean_keys, copy_keys = keys_of(clean), keys_of(copied)
    exact = bool(copy.artifacts) and copy.artifacts["index"].fingerprint == clean.fingerprint
    known = ledger_names(copy) if exact else named(clean_keys) | by_ledger(copy, clean_keys)
    originals = [(known.get(name, known.get(without_extension(name), -1)), row) for row, name in enumerate(copy_keys)]
    both = sorted((original, row) for original, row in originals if original >= 0)
    if len(both) < LEAST * len(copy_keys) and len(clean_keys) == len(copy_keys) and (labels_of(clean) == labels_of(copied)).all():
        both = [(row, row) for row in range(len(clean_keys))]  # other names, but as many rows with the same labels in the same order
    if len(both) < LEAST * len(copy_keys):
        raise ValueError(
            f"{copy.uri} is no copy of the clean source: of its {len(copy_keys):,} images only {len(both):,} carry a name that the source "
            f"has (there for example {copy_keys[0]!r}, in the source {clean_keys[0]!r}); give --clean the images that it was made from"
        )
    array = np.array(both, np.int64).reshape(-1, 2)
    return Pairs(clean=array[:, 0], copy=array[:, 1], exact=exact)


def by_ledger(copy: ProtectedCopy, clean_keys: list[str]) -> dict[str, int]:
    """From names in the copy to rows of a source that has changed since, as the ledgers name the originals.

    A packed image is named after its place, and places shift where a row was left out: one whose original is not there has no row (-1).
    """
    row_of = {key: row for row, key in enumerate(clean_keys)}
    moved = {name: key for name, key in keys_by_name(copy).items() if key in row_of or without_extension(name) != without_extension(key)}
    return {name: row_of.get(key, -1) for name, key in moved.items()}


def named(keys: list[str]) -> dict[str, int]:
    """From names, with and (where that stays unique) without extension, to rows."""
    short: dict[str, int] = {}
    for row, key in enumerate(keys):
        stem = without_extension(key)
        short[stem] = -1 if stem in short else row
    return {stem: row for stem, row in short.items() if row >= 0} | {key: row for row, key in enumerate(keys)}


def refuse_strangers(clean: np.ndarray, copied: np.ndarray, *, uri: str) -> None:
    """That matched views look alike: rows `n h w 3` of both. Positions in a packed file shift when a row was left out."""
    some = np.linspace(0, len(clean) - 1, min(len(clean), 200)).astype(int)
    one, two = clean[some].astype(np.float32), copied[some].astype(np.float32)
    same, other = np.abs(one - two).mean(), np.abs(one - np.roll(two, 1, 0)).mean()
    if len(some) > 10 and same > CLOSER * other:
        raise ValueError(
            f"the images of {uri} do not look like those of the clean source under the same names: they differ by {same:.0f} levels, "
            f"strangers by {other:.0f}; give --clean the images that it was made from"
        )
