"""The exploiter's labels of an evaluation, and the test set as it would look had it been published. Each is an artifact of the run."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from ray_ue import specs
from ray_ue.artifacts import Artifact, Folder
from ray_ue.groups import assign
from ray_ue.labels import Known, agreement
from ray_ue.progress import say
from ray_ue.recipe import Recipe
from ray_ue.relabels import relabel
from ray_ue.stages.base import Run, stage
from ray_ue.stages.copies import Copy, per, slots
from ray_ue.stages.dataset import Data, digest, open_match
from ray_ue.stages.embed import embed
from ray_ue.stages.index import labels_of
from ray_ue.stages.sample import sample
from ray_ue.stages.seen import Poisoned
from ray_ue.stages.surrogate import surrogate
from ray_ue.stages.vectors import vectors
from ray_ue.stages.views import open_views

VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Labels for the rows of `data.ids` and of the test views."""

    data: Data

    @cached_property
    def known(self) -> Known:
        """The true classes of both splits, numbered alike: by class name where both sources have names, else by number."""
        data = self.data
        train, test = data.true_labels[data.ids], labels_of(data.test_index)[open_views(data.test.folder)[1]]
        here, there = data.clean_index.facts["classes"], data.test_index.facts["classes"]
        if here and there:
            names = sorted({*here, *there})
            train, test = _numbered(train, here, names), _numbered(test, there, names)
        else:
            names = list(here or there)
            train, test, names = _dense(train, test, names)
        return Known(train=train, test=test, names=tuple(names), features=self.features, texts=self.texts)

    @property
    def classes(self) -> int:
        """Number of true classes; 0 when there are no labels."""
        return len(np.union1d(self.known.train[self.known.train >= 0], self.known.test[self.known.test >= 0]))

    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """The exploiter's encoder's vectors of the training and test rows."""
        data = self.data
        train, test = data.run(data.clean_uri), data.run(data.test_uri)
        weights = {}
        if specs.parse(data.recipe.surrogate).kind == "ssl":
            say(f"  encoder  training {data.recipe.surrogate} on the clean rows, for the exploiter's labels")
            canvas, most = train.recipe.geometry()[0], train.recipe.craft_sample
            weights = surrogate(train, sample=sample(train, index=data.clean_index, canvas=canvas, rows=most))
        first = embed(train, index=data.clean_index, weights=weights)
        second = embed(test, index=data.test_index, weights=weights)
        return _rows(first, data.ids), _rows(second, open_views(data.test.folder)[1])

    def texts(self) -> np.ndarray:
        if not self.data.grid.texts:
            raise ValueError("--relabels text needs a text encoder: name one with --texts, such as open_clip:ViT-B-32/openai")
        if not any(listed.facts["classes"] for listed in (self.data.clean_index, self.data.test_index)):
            raise ValueError("--relabels text needs class names, and the source has none; use super instead")
        from ray_ue.nets.clip import embed_names

        spec = specs.parse(self.data.grid.texts)
        return embed_names(spec.arch, spec.weights, self.known.names)

    def labels(self, spec: str) -> Artifact:
        """`labels.npz` (train, test), with the classes' names and the level of chance as facts."""
        data = self.data
        fields: dict[str, object] = {
            "spec": spec,
            "train": digest(self.known.train),
            "test": digest(self.known.test),
            "ids": digest(data.ids),
        }
        if spec.startswith(("pseudo", "finer")):
            fields["encoder"] = data.recipe.values(("surrogate", "image_size", "ssl_steps", "seed"))
        if spec.startswith("super:") and spec.endswith(".json"):
            fields["map"] = hashlib.sha256(Path(spec.partition(":")[2]).read_bytes()).hexdigest()
        if spec.startswith("text"):
            fields["texts"] = specs.identity(specs.parse(data.grid.texts)) if data.grid.texts else ""

        def build(folder: Folder) -> dict:
            found = relabel(spec, self.known, seed=0)
            with folder.writing("labels.npz") as file:
                np.savez(file, train=found.train, test=found.test)
            return {
                "classes": found.classes,
                "names": list(found.names),
                "chance": found.chance,
                "sha256": digest(found.train) + digest(found.test),
            }

        inputs = {"clean": data.clean_index, "test": data.test_index}
        return stage(data.run(data.clean_uri), "labels", version=VERSION, fields=fields, inputs=inputs, build=build)

    def agreement(self, copy: Copy, labels: Artifact) -> tuple[float | None, float | None]:
        """(AMI, purity) of the copy's clusters with the exploiter's labels; None where the clusters of these rows are unknown."""
        if not self.data.placed_here(copy):
            return None, None
        rows = open_match(self.data.match(copy, like=copy).folder)["row"]
        return agreement(slots(copy)[self.data.ids[rows]], open_labels(labels.folder)[0][rows])

    def perturbed(self, copy: Copy) -> Artifact | None:
        """The test rows as they would look had they been published, each with its cluster's perturbation.

        None without the clusters, where they were made from embeddings that the test rows do not have, and where every image has a
        perturbation of its own: a new image has none.
        """
        data = self.data
        if copy.recipe is None or "craft" not in copy.artifacts or per(copy) == "image" or copy.recipe.embeddings:
            return None
        placed = self.placed(copy)
        see = Poisoned(path=data.path(copy), poison=copy.artifacts["craft"].folder, slots=placed.folder)
        identity = {
            "poison": copy.artifacts["craft"].fingerprint,
            "slots": placed.fingerprint,
            "resize": copy.resize,
            "to": copy.image_format,
        }
        wanted = data.wanted_test[np.load(placed.folder.fetch("slots.npy"), allow_pickle=False)[data.wanted_test] >= 0]
        return data.views(data.test_uri, data.test_index, wanted, see=see, identity=identity, name="perturb")

    def placed(self, copy: Copy) -> Artifact:
        """`slots.npy` int32: the cluster nearest to each test row, or its class when the groups are classes; -1 where there is neither."""
        data, recipe = self.data, copy.recipe
        assert recipe is not None
        inputs = {"test": data.test_index, "groups": copy.artifacts["cluster"]}

        def build(folder: Folder) -> dict:
            found = np.full(data.test_index.facts["rows"], -1, np.int32)
            if recipe.groups == "label":
                found = self.class_slots(copy)
            else:
                centers = np.load(copy.artifacts["cluster"].folder.fetch("centers.npy"), allow_pickle=False)
                for ids, block in vectors(self.embedded_test(recipe, copy)):
                    found[ids] = assign(block, centers)[0]
            with folder.writing("slots.npy") as file:
                np.save(file, found)
            return {"placed": int((found >= 0).sum())}

        made = partial(stage, data.run(data.test_uri), "placed", version=VERSION, fields={}, inputs=inputs, build=build)
        return data.once("placed", copy.uri, make=made)

    def embedded_test(self, recipe: Recipe, copy: Copy) -> Artifact:
        data = self.data
        own = Run(
            source=data.test_uri,
            output=data.work,
            work=data.work,
            shared=data.work,
            recipe=replace(recipe, format=data.recipe.format, max_rejected=1.0),
            resources=data.resources,
            machines=data.machines,
        )
        weights = {"surrogate": copy.artifacts["surrogate"]} if "surrogate" in copy.artifacts else {}
        return embed(own, index=data.test_index, weights=weights)

    def class_slots(self, copy: Copy) -> np.ndarray:
        """The slot of each test row's class: slots were given to the copy's classes in their order."""
        data = self.data
        source, test = labels_of(copy.artifacts["index"]), labels_of(data.test_index)
        here, there = copy.artifacts["index"].facts["classes"], data.test_index.facts["classes"]
        kinds = np.unique(source[slots(copy) >= 0])
        place = {(here[kind] if here and there else kind): slot for slot, kind in enumerate(kinds.tolist())}
        return np.array([place.get(there[label] if here and there and label >= 0 else label, -1) for label in test.tolist()], np.int32)


def open_labels(folder: Folder) -> tuple[np.ndarray, np.ndarray]:
    with folder.reading("labels.npz") as file, np.load(file, allow_pickle=False) as found:
        return found["train"], found["test"]


def _rows(embedded: Artifact, ids: np.ndarray) -> np.ndarray:
    """The vectors of some rows, in their order; a `ValueError` if the encoder could not read one."""
    parts, found = [], []
    for here, block in vectors(embedded):
        chosen = np.isin(here, ids)
        parts.append(block[chosen])
        found.append(here[chosen])
    if not np.array_equal(np.concatenate(found), ids):
        raise ValueError(f"{len(ids) - sum(map(len, found)):,} of {len(ids):,} images have no vector of the encoder")
    return np.concatenate(parts)


def _numbered(labels: np.ndarray, own: list[str], names: list[str]) -> np.ndarray:
    place = np.array([names.index(name) for name in own] + [-1])
    return place[labels]


def _dense(train: np.ndarray, test: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels as 0 to K - 1, and the classes' names (their numbers when there are none)."""
    kinds = np.union1d(train[train >= 0], test[test >= 0])
    told = [names[kind] if kind < len(names) else str(kind) for kind in kinds.tolist()]
    dense = [np.where(part >= 0, np.searchsorted(kinds, part), -1) if len(kinds) else part for part in (train, test)]
    return dense[0], dense[1], told
