"""Where every image of a copy lies, by name, in 48 bytes an image; from a fresh listing, independent of the export's ledger."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from ray_ue.sources import Shard, Source
from ray_ue.stages.protect.ledger import in_order

NAME = 16  # bytes of a name's digest: a billion names share none by chance
LOCATION = np.dtype([("shard", "<i4"), ("row", "<i4"), ("label", "<i8"), ("offset", "<i8"), ("size", "<i8")])
SHOWN = 5  # names in an error
NO_LABEL = np.iinfo(np.int64).min


@dataclass(frozen=True, kw_only=True, eq=False)
class Locations:
    """Every image of `copy` in the order of its name's digest; `claimed` says which ones were asked for."""

    copy: Source
    shards: list[Shard]
    names: np.ndarray
    at: np.ndarray
    claimed: np.ndarray
    damaged: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, copy: Source, *, threads: int) -> "Locations":
        """List a copy, several shards at once; `damaged` are packed ones that cannot be read, and whose images are not there."""
        shards = copy.shards()
        with ThreadPoolExecutor(threads) as pool:
            parts = list(in_order(pool, partial(_list, copy), shards, ahead=2 * threads))
        names = np.concatenate([np.empty(0, f"S{NAME}"), *(names for names, _ in filter(None, parts))])
        at = np.concatenate([np.empty(0, LOCATION), *(at for _, at in filter(None, parts))])
        order = np.argsort(names, kind="stable")
        damaged = [shard.path for shard, part in zip(shards, parts, strict=True) if part is None]
        return cls(copy=copy, shards=shards, names=names[order], at=at[order], claimed=np.zeros(len(names), bool), damaged=damaged)

    def claim(self, names: Sequence[str]) -> tuple[np.ndarray, list[str], list[str]]:
        """The positions in `at` of the names that are there, the names that are not, and those that were claimed before."""
        wanted = digests(names)
        positions = np.searchsorted(self.names, wanted)
        present = positions < len(self.names)
        present[present] = self.names[positions[present]] == wanted[present]
        missing = [names[int(i)] for i in np.flatnonzero(~present)]
        places = positions[present]
        first = np.zeros(len(places), bool)
        first[np.unique(places, return_index=True)[1]] = True
        again = self.claimed[places] | ~first
        self.claimed[places] = True
        return places, missing, [names[int(i)] for i in np.flatnonzero(present)[again]]

    def unclaimed(self) -> tuple[int, list[str]]:
        """How many images nobody asked for, and the first few of their names. A name that is there twice is claimed once."""
        left = self.at[~self.claimed]
        first = np.sort(left, order=["shard", "row"])[:SHOWN]
        keys = {int(shard): self.copy.rows(self.shards[shard])["key"] for shard in np.unique(first["shard"])}
        return len(left), [keys[int(place["shard"])][int(place["row"])].as_py() for place in first]


def rows_or_none(copy: Source, shard: Shard) -> pa.Table | None:
    """The rows of a shard; None for a packed one that is damaged."""
    try:
        return copy.rows(shard)
    except ValueError:
        if shard.files:
            raise
        return None


def digests(names: Sequence[str]) -> np.ndarray:
    """S16 `N`: a digest of each name."""
    return np.array([blake2b(name.encode(), digest_size=NAME).digest() for name in names], f"S{NAME}")


def _list(copy: Source, shard: Shard) -> tuple[np.ndarray, np.ndarray] | None:
    """The names and places of a shard's images; None for a packed one that cannot be read."""
    if (rows := rows_or_none(copy, shard)) is None:
        return None
    at = np.empty(len(rows), LOCATION)
    at["shard"], at["row"] = shard.number, np.arange(len(rows))
    for name, nothing in (("label", NO_LABEL), ("offset", 0), ("size", 0)):
        at[name] = rows[name].fill_null(nothing).to_numpy()
    return digests(rows["key"].to_pylist()), at
