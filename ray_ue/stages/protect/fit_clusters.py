"""Fits k-means on a sample of the vectors: here if the sample is small, else in one Ray task, on a GPU where Ray assigns one."""

import os
from dataclasses import dataclass

import numpy as np
import ray
from jaxtyping import Int64

from ray_ue.engine.devices import assigned_device
from ray_ue.engine.machines import Machines
from ray_ue.grouping.agreement import Choice, agreement, choose_clusters, some_rows
from ray_ue.grouping.kmeans import KMeans, faiss_has_gpu, faiss_threads
from ray_ue.grouping.sampling import between
from ray_ue.random_streams import STREAMS
from ray_ue.stages.protect.vectors import vectors
from ray_ue.storage.artifacts import Artifact
from ray_ue.types import Centers, Vectors

HERE = 20_000  # rows up to which the start of a task would cost more than the fit

Places = Int64[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """Fitted `centers`, the `choice` of their number with what was compared for it, and the device that did it."""

    centers: Centers
    choice: Choice
    device: str


def fit_clusters(embedded: Artifact, sample: Places, *, clusters: int, restarts: int, seed: int, machines: Machines) -> Fit:
    """Fit `clusters` (0: chosen) on the readable rows `sample`; whoever fits them reads them, so a driver holds no large sample."""
    if fits_here(len(sample)):
        return fit(embedded, sample, clusters, restarts, seed)
    task = ray.remote(num_cpus=1, num_gpus=min(1, machines.gpus))(fit_with_all_cores)
    return ray.get(task.remote(embedded, sample, clusters, restarts, seed))


def fits_here(rows: int) -> bool:
    """Whether so many rows are clustered in the driver."""
    return rows <= HERE


def fit_with_all_cores(embedded: Artifact, sample: Places, clusters: int, restarts: int, seed: int) -> Fit:
    """`fit` as a task, to which Ray gives one thread."""
    with faiss_threads(os.cpu_count() or 1):
        return fit(embedded, sample, clusters, restarts, seed)


def fit(embedded: Artifact, sample: Places, clusters: int, restarts: int, seed: int) -> Fit:
    """Fit here and now, on the GPU that Ray assigned to this process, if any."""
    sampled = collect(embedded, sample)
    choice = trust(sampled, clusters, seed=seed)
    gpu = assigned_device().type == "cuda" and faiss_has_gpu()
    centers = KMeans(k=choice.clusters, restarts=restarts, seed=seed).fit(sampled, gpu=gpu)
    return Fit(centers=centers, choice=choice, device="GPU" if gpu else "CPU")


def trust(sampled: Vectors, clusters: int, *, seed: int) -> Choice:
    """The number of clusters and of groups, chosen if it is 0, and how far independent runs agree on that many and on what was tried."""
    rng = np.random.default_rng([seed, STREAMS["cluster/agreement"]])
    if not clusters:
        return choose_clusters(sampled, rng=rng)
    rows = some_rows(sampled, rng=rng)
    compared = (agreement(rows, clusters=clusters, rng=rng),) if len(rows) >= 2 * clusters else ()
    return Choice(clusters=clusters, groups=clusters, compared=compared, merged=compared)


def collect(embedded: Artifact, places: Places) -> Vectors:
    """The vectors at sorted `places` (counting readable rows only), with one part in memory at a time."""
    sample, begin, done = np.zeros((0, 0), np.float32), 0, 0
    for _, block in vectors(embedded):
        sample = np.empty((len(places), block.shape[1]), np.float32) if begin == 0 else sample
        inside = between(places, begin, begin + len(block)) - begin
        sample[done : done + len(inside)] = block[inside]
        begin, done = begin + len(block), done + len(inside)
    assert done == len(places), "the places are of readable rows"
    return sample
