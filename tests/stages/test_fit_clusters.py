"""k-means takes a GPU only where Ray assigned one, and a large sample is read and fitted by a task, not by the driver."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pytest
import torch

from ray_ue.engine.machines import Machines
from ray_ue.grouping.agreement import Choice
from ray_ue.grouping.kmeans import NO_SLOT, KMeans, Tally
from ray_ue.stages.protect import fit_clusters as module
from ray_ue.stages.protect.cluster import is_long, merged_groups, open_groups, save
from ray_ue.stages.protect.embed import write_vectors
from ray_ue.stages.protect.fit_clusters import Fit, fit, fit_clusters
from ray_ue.storage.artifacts import Artifact, Folder, Manifest

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
MANIFEST = Manifest(stage="embed", fingerprint="0", facts={}, fields={})


@pytest.fixture
def embedded(tmp_path: Path) -> Artifact:
    """Vectors of 300 rows in three chunks."""
    folder = Folder.at(str(tmp_path / "embedded"))
    values = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    for chunk, rows in enumerate(np.array_split(np.arange(300), 3)):
        keys, labels = pa.array([str(row) for row in rows]), pa.array([0] * len(rows), pa.int32())
        write_vectors(folder, chunk, ids=rows, keys=keys, labels=labels, vectors=values[rows])
    return Artifact(folder=folder, manifest=MANIFEST)


@pytest.mark.parametrize(("device", "build_has_gpu", "used"), [(CPU, True, 0), (GPU, True, 1), (GPU, False, 0)])
def test_faiss_takes_the_one_gpu_that_was_assigned_or_none(
    embedded: Artifact, monkeypatch: pytest.MonkeyPatch, device: torch.device, build_has_gpu: bool, used: int
) -> None:
    asked: list[int] = []
    really = faiss.Kmeans

    def kmeans(*args: Any, gpu: int, **kinds: Any) -> Any:
        asked.append(gpu)
        return really(*args, gpu=False, **kinds)

    monkeypatch.setattr(faiss, "Kmeans", kmeans)
    monkeypatch.setattr(module, "assigned_device", lambda: device)
    monkeypatch.setattr(module, "faiss_has_gpu", lambda: build_has_gpu)
    fitted = fit(embedded, np.arange(300), 5, 1, 0)
    assert (asked[-1], fitted.device) == (used, "GPU" if used else "CPU")


def test_whoever_clusters_on_the_way_asks_for_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relabels and defenses run beside victims, whose GPUs are taken."""
    asked: list[int] = []
    really = faiss.Kmeans
    monkeypatch.setattr(faiss, "Kmeans", lambda *args, gpu, **kinds: (asked.append(gpu), really(*args, gpu=False, **kinds))[1])
    KMeans(k=2).fit(np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32))
    assert asked == [0]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_task_finds_the_centres_that_the_driver_would(embedded: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    sample, machines = np.arange(0, 300, 2), Machines.one(cpus=2)
    here = fit_clusters(embedded, sample, clusters=4, restarts=2, seed=3, machines=machines)
    monkeypatch.setattr(module, "HERE", 0)
    there = fit_clusters(embedded, sample, clusters=4, restarts=2, seed=3, machines=machines)
    assert (here.centers == there.centers).all()
    assert here.choice == there.choice


@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_a_large_sample_is_fitted_by_a_task_that_asks_for_one_gpu_where_there_is_one(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, float]] = []
    answer = module.Fit(centers=np.zeros((5, 8), np.float32), choice=Choice(clusters=5, groups=5), device="CPU")

    class Task:
        def remote(self, *given: object) -> object:
            return answer

    monkeypatch.setattr(module.ray, "remote", lambda **resources: lambda work: asked.append(resources) or Task())
    monkeypatch.setattr(module.ray, "get", lambda given: given)
    monkeypatch.setattr(module, "HERE", 10)
    artifact = Artifact(folder=Folder("unused"), manifest=MANIFEST)
    assert fit_clusters(artifact, np.arange(11), clusters=5, restarts=1, seed=0, machines=Machines.one(cpus=4, gpus=gpus)) is answer
    assert asked == [{"num_cpus": 1, "num_gpus": min(1, gpus)}]


def test_a_fit_that_takes_minutes_is_announced() -> None:
    assert is_long(rows=131_072, clusters=1000, width=1280, restarts=1)
    assert not is_long(rows=50_000, clusters=50, width=1280, restarts=5)


def test_merged_clusters_come_back_from_their_folder_with_their_groups(tmp_path: Path) -> None:
    """Two pairs of neighbours and one cluster apart: three groups, whose rows and means are those of their clusters together."""
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0], [1, 0], [50, 0], [51, 0], [0, 90]], np.float32)
    of_row = np.concatenate([np.repeat(np.arange(5), 40), [NO_SLOT]]).astype(np.int32)
    rows = (centers[of_row] + rng.normal(0, 0.1, (201, 2))).astype(np.float32)
    whole = Tally.of(rows[:-1], of_row[:-1], np.ones(200), k=5)
    fitted = Fit(centers=centers, choice=Choice(clusters=5, groups=3), device="CPU")
    save(folder := Folder.at(str(tmp_path / "cluster")), merged_groups(of_row, whole, fitted))
    groups = open_groups(folder)
    assert groups.slot_of.tolist() == [0] * 80 + [1] * 80 + [2] * 40 + [NO_SLOT]
    assert groups.sizes().tolist() == [80, 80, 40]
    np.testing.assert_allclose(groups.centers, [rows[:80].mean(0), rows[80:160].mean(0), rows[160:200].mean(0)], rtol=1e-5)
    assert groups.assign(rows[:-1])[0].tolist() == groups.slot_of[:-1].tolist()
    unmerged = merged_groups(of_row, whole, Fit(centers=centers, choice=Choice(clusters=5, groups=5), device="CPU"))
    assert unmerged.merged is None
    assert unmerged.slot_of is of_row
