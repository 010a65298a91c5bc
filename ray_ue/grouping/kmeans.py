"""Groups: which slot of the bank each row uses, by k-means over embeddings or by label."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import faiss
import numpy as np
from jaxtyping import Bool, Float, Int32, Int64

from ray_ue.types import Centers, SlotOf, Vectors

BLOCK = 16_384  # vectors
SMALL = 10**8  # products in one assignment of all vectors, up to which one thread is faster
NO_SLOT = -1  # a rejected row: it has no vector


@dataclass(frozen=True, kw_only=True, eq=False)
class Merged:
    """The clusters that were merged to groups: `centers` are their mean embeddings, `slots` the group of each."""

    centers: Centers
    slots: Int32[np.ndarray, " k"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """`slot_of` maps a dense row id to its slot (-1: the row was rejected); `centers` is the mean embedding of each slot.

    Where clusters were `merged`, the nearest of theirs says where a new vector belongs.
    """

    slot_of: SlotOf
    centers: Centers
    merged: Merged | None = None

    def __post_init__(self) -> None:
        if (top := int(self.slot_of.max(initial=-1))) >= len(self.centers):
            raise ValueError(f"slot {top} has no center: there are only {len(self.centers)}")

    def assign(self, vectors: Vectors) -> tuple[Int32[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The slot of each vector `n D`, and the squared distance to the nearest centre."""
        if self.merged is None:
            return assign(vectors, self.centers)
        nearest, squares = assign(vectors, self.merged.centers)
        return self.merged.slots[nearest], squares

    def sizes(self) -> Int64[np.ndarray, " S"]:
        return np.bincount(self.slot_of[self.slot_of >= 0], minlength=len(self.centers)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class KMeans:
    """Lloyd's k-means by faiss on raw features, Euclidean, as in the UC authors' code.

    `restarts` runs from k-means++ seeds and the best is kept. faiss would silently fit on 256 points per centroid;
    here every vector that is handed to `fit` is used.
    """

    k: int
    restarts: int = 5
    iterations: int = 50
    seed: int = 0

    def check(self, rows: int) -> None:
        """Refuse a number of clusters that cannot work on `rows` rows."""
        if self.k < 2:
            raise ValueError(f"{self.k} cluster(s) leave no wrong centre to aim at; ask for 2 or more")
        if self.k > rows:
            raise ValueError(f"{self.k} clusters need at least {self.k} images, there are {rows}; ask for fewer clusters")

    def fit(self, vectors: Vectors, *, gpu: bool = False) -> Centers:
        """Centroids `S D` of the vectors `n D`; the same seed gives the same centroids on the same kind of device.

        `gpu` is for a process that was given one, where faiss can use it (`faiss_has_gpu`).
        """
        self.check(len(vectors))
        # Clustering far from the origin loses float32 digits in |x|^2 - 2xc + |c|^2: work around the mean. One copy, no float64 one.
        middle, centred = vectors.mean(0, dtype=np.float64), np.empty_like(vectors, dtype=np.float32, order="C")
        for rows in (slice(begin, begin + BLOCK) for begin in range(0, len(vectors), BLOCK)):
            centred[rows] = vectors[rows] - middle
            if not np.isfinite(centred[rows]).all():
                raise ValueError("some embeddings are not finite numbers; the surrogate is broken for this data, try another")
        engine = faiss.Kmeans(
            centred.shape[1],
            self.k,
            niter=self.iterations,
            nredo=self.restarts,
            seed=(self.seed + 1) % 2**31,  # faiss takes no more
            init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
            max_points_per_centroid=len(centred),  # all of them
            min_points_per_centroid=1,
            gpu=int(gpu),  # how many; True would take all that the process sees
        )
        with _one_thread_if(len(centred) * self.k * centred.shape[1] < SMALL):
            engine.train(centred)
        return (np.asarray(engine.centroids, np.float64) + middle).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class ByLabel:
    """One slot per label: the class-wise poisons of earlier work. It holds only while the exploiter uses these labels or merges them."""

    def slots(self, labels: Int64[np.ndarray, " N"], used: Bool[np.ndarray, " N"]) -> tuple[SlotOf, int]:
        """(slot of each row, number of slots); rows that are not `used` get none, and every used row must have a label."""
        if (missing := int((labels[used] < 0).sum())) > 0:
            raise ValueError(
                f"{missing:,} of {int(used.sum()):,} images have no label, so --groups label cannot place them; use --groups kmeans"
            )
        kinds, places = np.unique(labels[used], return_inverse=True)
        if len(kinds) < 2:
            raise ValueError("all images have the same label, which leaves no wrong centre to aim at; use --groups kmeans")
        slot_of = np.full(len(labels), NO_SLOT, np.int32)
        slot_of[used] = places
        return slot_of, len(kinds)


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """faiss works with `count` threads while the block runs."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _one_thread_if(small: bool) -> AbstractContextManager[None]:
    """Threads that share little work mostly wait for each other: on a busy machine seconds for milliseconds of work."""
    return faiss_threads(1 if small else faiss.omp_get_max_threads())


def faiss_has_gpu() -> bool:
    """Whether faiss would really use a GPU: the CPU build accepts `gpu=True` and ignores it."""
    return bool(getattr(faiss, "StandardGpuResources", False)) and faiss.get_num_gpus() > 0


def assign(vectors: Vectors, centers: Centers) -> tuple[Int32[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The nearest centre of each vector and the squared distance to it, in float64 so that huge collections cannot collapse."""
    wide, middle = vectors.astype(np.float64), centers.astype(np.float64).mean(0)
    wide, means = wide - middle, centers.astype(np.float64) - middle
    squares = (wide**2).sum(1)[:, None] - 2 * wide @ means.T + (means**2).sum(1)
    nearest = squares.argmin(1)
    return nearest.astype(np.int32), np.maximum(squares[np.arange(len(wide)), nearest], 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Float64 sums over assigned vectors; adding tallies in a fixed order gives the same centres on any number of workers."""

    counts: Int64[np.ndarray, " S"]
    sums: Float[np.ndarray, "S D"]
    inertia: float

    @classmethod
    def of(cls, vectors: Vectors, slots: Int32[np.ndarray, " n"], squares: Float[np.ndarray, " n"], *, k: int) -> "Tally":
        sums = np.zeros((k, vectors.shape[1]))
        np.add.at(sums, slots, vectors.astype(np.float64))
        return cls(counts=np.bincount(slots, minlength=k).astype(np.int64), sums=sums, inertia=float(squares.sum()))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(counts=self.counts + other.counts, sums=self.sums + other.sums, inertia=self.inertia + other.inertia)

    def merged(self, slots: Int32[np.ndarray, " S"]) -> "Tally":
        """The tally of the groups that its slots were merged to."""
        counts, sums = np.zeros(slots.max() + 1, np.int64), np.zeros((slots.max() + 1, self.sums.shape[1]))
        np.add.at(counts, slots, self.counts)
        np.add.at(sums, slots, self.sums)
        return Tally(counts=counts, sums=sums, inertia=self.inertia)

    def centers(self, fallback: Centers) -> Centers:
        """Mean embedding per slot; an empty slot keeps its fitted centroid."""
        means = self.sums / np.maximum(self.counts, 1)[:, None]
        return np.where(self.counts[:, None] > 0, means, fallback).astype(np.float32)


class OrderedSum:
    """Tallies that arrive in any order, added in the order of their numbers from 0 on: float sums depend on it.

    Only tallies whose predecessors are missing are kept.
    """

    def __init__(self) -> None:
        self._sum: Tally | None = None
        self._next = 0
        self._waiting: dict[int, Tally] = {}

    def add(self, number: int, tally: Tally) -> None:
        self._waiting[number] = tally
        while (following := self._waiting.pop(self._next, None)) is not None:
            self._sum = following if self._sum is None else self._sum + following
            self._next += 1

    def whole(self, count: int) -> Tally:
        """The sum of `count` tallies; a `ValueError` while one of them is missing."""
        if self._sum is None or self._next != count:
            raise ValueError(f"tally {self._next} of {count} is missing")
        return self._sum


def report(sizes: Int64[np.ndarray, " S"], inertia: float) -> dict[str, object]:
    """Sizes, imbalance (largest over mean; 1 is even) and inertia per row, for the manifest and the terminal."""
    total = int(sizes.sum())
    return {
        "sizes": sizes.tolist(),
        "imbalance": round(float(sizes.max() / max(sizes.mean(), 1e-9)), 4),
        "empty": int((sizes == 0).sum()),
        "inertia_per_row": inertia / max(total, 1),
    }
