"""The exploiter's labels of an evaluation, and the test set as it would look had it been published. Each is an artifact of the run."""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ray_ue.engine.stage import stage
from ray_ue.exploiter.labels import Known, agreement
from ray_ue.exploiter.relabels import relabel
from ray_ue.models.pretrained import specs
from ray_ue.progress import say
from ray_ue.sources.naming import composed
from ray_ue.stages.evaluate.copies import ProtectedCopy, per, slots
from ray_ue.stages.evaluate.data import CopyData, EvaluationData, preprocessing
from ray_ue.stages.evaluate.preprocessing import PoisonedView
from ray_ue.stages.evaluate.rows import open_match
from ray_ue.stages.evaluate.sources import VERSION, Ids, digest
from ray_ue.stages.protect.cluster import open_groups
from ray_ue.stages.protect.embed import embed
from ray_ue.stages.protect.index import labels_of
from ray_ue.stages.protect.sample import sample
from ray_ue.stages.protect.self_supervised import train_surrogate
from ray_ue.stages.protect.vectors import vectors
from ray_ue.stages.protect.views import open_views, read_arrays
from ray_ue.storage.artifacts import Artifact, Folder


def known_labels(data: EvaluationData) -> Known:
    """The true classes of both splits, numbered alike: by class name where both sources have names, else by number.

    Features and class-name embeddings are computed when a relabel asks for them.
    """
    train = labels_of(data.clean.index)[data.ids]
    test = labels_of(data.test.index)[open_views(data.test_views.folder)[1]]
    train_names, test_names = (list(map(composed, part.index.facts["classes"])) for part in (data.clean, data.test))
    if train_names and test_names:
        names = sorted({*train_names, *test_names})
        train, test = _numbered(train, train_names, names), _numbered(test, test_names, names)
    else:
        train, test, names = _dense(train, test, list(train_names or test_names))
    return Known(train=train, test=test, names=tuple(names), features=partial(features, data), texts=partial(texts, data, tuple(names)))


def classes_of(known: Known) -> int:
    """Number of true classes; 0 when there are no labels."""
    return len(np.union1d(known.train[known.train >= 0], known.test[known.test >= 0]))


def features(data: EvaluationData) -> tuple[np.ndarray, np.ndarray]:
    """The exploiter's encoder's vectors of the training and test rows."""
    run, recipe, weights = data.clean.run, data.clean.run.recipe, {}
    if specs.parse(recipe.surrogate).kind == "ssl":
        say(f"  encoder  training {recipe.surrogate} on the clean rows, for the exploiter's labels")
        views = sample(run, index=data.clean.index, canvas=recipe.geometry()[0], rows=recipe.craft_sample)
        weights = train_surrogate(run, sample=views)
    train, test = (embed(source.run, index=source.index, weights=weights) for source in (data.clean, data.test))
    return _rows(train, data.ids), _rows(test, open_views(data.test_views.folder)[1])


def texts(data: EvaluationData, names: tuple[str, ...]) -> np.ndarray:
    """The text encoder's vectors of the class names."""
    if not data.grid.texts:
        raise ValueError("--relabels text needs a text encoder: name one with --texts, such as open_clip:ViT-B-32/openai")
    if not any(source.index.facts["classes"] for source in (data.clean, data.test)):
        raise ValueError("--relabels text needs class names, and the source has none; use super instead")
    from ray_ue.models.pretrained.open_clip import embed_names

    spec = specs.parse(data.grid.texts)
    return embed_names(spec.arch, spec.weights, names)


def exploiter_labels(data: EvaluationData, known: Known, spec: str) -> Artifact:
    """`labels.npz` (train, test), with the classes' names and the level of chance as facts."""
    fields: dict[str, object] = {"spec": spec, "train": digest(known.train), "test": digest(known.test), "ids": digest(data.ids)}
    if spec.startswith(("pseudo", "finer")):
        fields["encoder"] = data.clean.run.recipe.values(("surrogate", "image_size", "ssl_steps", "seed"))
    if spec.startswith("super:") and spec.endswith(".json"):
        fields["map"] = hashlib.sha256(Path(spec.partition(":")[2]).read_bytes()).hexdigest()
    if spec.startswith("text"):
        fields["texts"] = specs.identity(specs.parse(data.grid.texts)) if data.grid.texts else ""

    def build(folder: Folder) -> dict:
        labels = relabel(spec, known, seed=0)
        with folder.writing("labels.npz") as file:
            np.savez(file, train=labels.train, test=labels.test)
        sha256 = digest(labels.train) + digest(labels.test)
        return {"classes": labels.classes, "names": list(labels.names), "chance": labels.chance, "sha256": sha256}

    inputs = {"clean": data.clean.index, "test": data.test.index}
    return stage(data.clean.run, "labels", version=VERSION, fields=fields, inputs=inputs, build=build)


def cluster_agreement(data: EvaluationData, copied: CopyData, labels: Artifact) -> tuple[float | None, float | None]:
    """(AMI, purity) of the copy's clusters with the exploiter's labels; None where the clusters of these rows are unknown."""
    if not data.knows_clusters_of(copied.copy):
        return None, None
    rows = open_match(copied.match.folder)["row"]
    return agreement(slots(copied.copy)[data.ids[rows]], open_labels(labels.folder)[0][rows])


def perturbed_test(data: EvaluationData, copy: ProtectedCopy) -> Artifact | None:
    """The test rows as they would look had they been published, each with its cluster's perturbation.

    None where the test rows are held out from the clean source, without the clusters, where these were made from embeddings that the test
    rows do not have, and where every image has a perturbation of its own: a new image has none.
    """
    if data.held_out or copy.recipe is None or "craft" not in copy.artifacts or per(copy) == "image" or copy.recipe.embeddings:
        return None
    placed, poison = slots_of_test(data, copy), copy.artifacts["craft"]
    path = preprocessing(copy, canvas=data.canvas, limits=data.test.run.recipe.limits())
    view = PoisonedView(path=path, poison=poison.folder, slots=placed.folder)
    identity = {"poison": poison.fingerprint, "slots": placed.fingerprint, "resize": copy.resize, "to": copy.image_format}
    slot_of = np.load(placed.folder.fetch("slots.npy"), allow_pickle=False)
    wanted = data.wanted_test[slot_of[data.wanted_test] >= 0]
    return data.test.views(wanted, view=view, canvas=data.canvas, identity=identity, name="perturb")


def slots_of_test(data: EvaluationData, copy: ProtectedCopy) -> Artifact:
    """`slots.npy` int32: the cluster nearest to each test row, or its class when the groups are classes; -1 where there is neither."""
    recipe = copy.recipe
    assert recipe is not None

    def build(folder: Folder) -> dict:
        slot_of = np.full(data.test.rows, -1, np.int32)
        if recipe.groups == "label":
            slot_of = _class_slots(data, copy)
        else:
            groups = open_groups(copy.artifacts["cluster"].folder)
            run = replace(data.test.run, recipe=replace(recipe, format=data.test.run.recipe.format, max_rejected=1.0))
            weights = {"surrogate": copy.artifacts["surrogate"]} if "surrogate" in copy.artifacts else {}
            for ids, block in vectors(embed(run, index=data.test.index, weights=weights)):
                slot_of[ids] = groups.assign(block)[0]
        with folder.writing("slots.npy") as file:
            np.save(file, slot_of)
        return {"placed": int((slot_of >= 0).sum())}

    inputs = {"test": data.test.index, "groups": copy.artifacts["cluster"]}
    return stage(data.test.run, "placed", version=VERSION, fields={}, inputs=inputs, build=build)


def open_labels(folder: Folder) -> tuple[np.ndarray, np.ndarray]:
    labels = read_arrays(folder, "labels.npz")
    return labels["train"], labels["test"]


def _class_slots(data: EvaluationData, copy: ProtectedCopy) -> np.ndarray:
    """The slot of each test row's class: slots were given to the copy's classes in their order."""
    source, test = labels_of(copy.artifacts["index"]), labels_of(data.test.index)
    names, test_names = (list(map(composed, index.facts["classes"])) for index in (copy.artifacts["index"], data.test.index))
    kinds = np.unique(source[slots(copy) >= 0])
    named = bool(names and test_names)
    slot_of = {(names[kind] if named else kind): slot for slot, kind in enumerate(kinds.tolist())}
    return np.array([slot_of.get(test_names[label] if named and label >= 0 else label, -1) for label in test.tolist()], np.int32)


def _rows(embedded: Artifact, ids: Ids) -> np.ndarray:
    """The vectors of some rows, in their order; a `ValueError` if the encoder could not read one."""
    parts, part_ids_kept = [], []
    for part_ids, block in vectors(embedded):
        chosen = np.isin(part_ids, ids)
        parts.append(block[chosen])
        part_ids_kept.append(part_ids[chosen])
    if not np.array_equal(np.concatenate(part_ids_kept), ids):
        raise ValueError(f"{len(ids) - sum(map(len, part_ids_kept)):,} of {len(ids):,} images have no vector of the encoder")
    return np.concatenate(parts)


def _numbered(labels: np.ndarray, own: list[str], names: list[str]) -> np.ndarray:
    return np.array([names.index(name) for name in own] + [-1])[labels]


def _dense(train: np.ndarray, test: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels as 0 to K - 1, and the classes' names (their numbers when there are none)."""
    kinds = np.union1d(train[train >= 0], test[test >= 0])
    kept = [names[kind] if kind < len(names) else str(kind) for kind in kinds.tolist()]
    dense = [np.where(part >= 0, np.searchsorted(kinds, part), -1) if len(kinds) else part for part in (train, test)]
    return dense[0], dense[1], kept
