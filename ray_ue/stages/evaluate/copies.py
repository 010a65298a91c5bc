"""A protected copy and the artifacts in its private work folder; a copy made by another tool has its images alone."""

from dataclasses import dataclass, field

import numpy as np

from ray_ue.config.recipe import EXPORT_FIELDS, FIELDS, Recipe
from ray_ue.config.stages import FURTHER, GENERATIONS, STAGES, stage_of
from ray_ue.sources.naming import printable
from ray_ue.stages.protect.ledger import ledger_name
from ray_ue.storage.artifacts import Artifact, Folder, finished, opened

CLAIM = "claim.json"
WORK = ".ray-ue"  # after a copy's name: the folder that must not be published


@dataclass(frozen=True, kw_only=True)
class ProtectedCopy:
    """A protected copy. `recipe` and `artifacts` (by stage name) are empty for one that was not made here or whose work folder is gone.

    `artifacts` are also empty for one that has grown, as no one index has all its rows; `exports` are those of its
    generations, oldest first, if its images are in groups, and `written` all of them.
    """

    name: str
    uri: str
    recipe: Recipe | None = None
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    exports: tuple[Artifact, ...] = ()
    written: tuple[Artifact, ...] = ()

    @property
    def resize(self) -> int:
        return self.recipe.resize if self.recipe else 0

    @property
    def image_format(self) -> str:
        return self.recipe.image_format if self.recipe else "png"

    def identity(self) -> str:
        """Moves when the copy was made anew, even if its files kept their names and sizes."""
        return self.artifacts["export"].fingerprint if self.artifacts else ""


def open_copies(uris: tuple[str, ...]) -> list[ProtectedCopy]:
    """Each with a short name of its own."""
    places = [Folder.at(uri).uri for uri in uris]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ValueError(f"{twice} is named twice; name each protected copy once")
    return [open_copy(place, name=name) for place, name in zip(places, short_names(places), strict=True)]


def short_names(places: list[str]) -> list[str]:
    """The last part of each path; of as many parts as tell apart those that share it, and numbered where no parts do."""
    parts = [printable(place).strip("/").split("/") for place in places]
    names = [part[-1] for part in parts]
    taken = 1
    while len(set(names)) < len(names) and taken < max(map(len, parts)):
        taken += 1
        names = ["-".join(part[-taken:]) if names.count(name) > 1 else name for part, name in zip(parts, names, strict=True)]
    return names if len(set(names)) == len(names) else [f"{name}-{number}" for number, name in enumerate(names, 1)]


def open_copy(uri: str, *, name: str) -> ProtectedCopy:
    work = Folder(uri + WORK)
    names = [child for child in work.names() if child.startswith("export-") and finished(work.child(child))]
    if not names or not work.exists(CLAIM):
        return ProtectedCopy(name=name, uri=uri)
    claim = work.read_json(CLAIM)
    flags, shared = claim["flags"], shared_by(work, claim)
    recipe = Recipe(**{key: value for key, value in flags.items() if key in FIELDS})
    if len(generations(work)) > 1:
        written = exports_of(work)
        grouped = tuple(export for export in written if in_groups(export, shared))
        return ProtectedCopy(name=name, uri=uri, recipe=recipe, exports=grouped, written=written)
    export = newest_export(work, [opened(work.child(child)) for child in names], recipe)
    artifacts: dict[str, Artifact] = {"export": export}
    waiting = [export]
    while waiting:  # up the chain of inputs
        for role, fingerprint in waiting.pop().manifest.inputs.items():
            kind = stage_of(role)
            if kind not in artifacts and not role.startswith(FURTHER):
                home = work if STAGES[kind].per_copy else shared
                artifacts[kind] = opened(home.child(f"{kind}-{fingerprint}"))
                waiting.append(artifacts[kind])
    return ProtectedCopy(name=name, uri=uri, recipe=recipe, artifacts=artifacts, exports=(export,), written=(export,))


def newest_export(work: Folder, exports: list[Artifact], recipe: Recipe) -> Artifact:
    """The one that the record of the copy names last; without a record, as an older version left it, the one of this recipe."""
    if recorded := [line["export"] for line in generations(work) if line["export"]]:
        return next((done for done in exports if done.fingerprint == recorded[-1]), exports[-1])
    wanted = recipe.values(EXPORT_FIELDS)
    return next((done for done in exports if done.manifest.fields == wanted), exports[-1])


def exports_of(work: Folder) -> tuple[Artifact, ...]:
    """The exports of a grown copy, oldest first."""
    folders = [work.child(f"export-{line['export']}") for line in generations(work) if line["export"]]
    return tuple(opened(folder) for folder in folders if finished(folder))


def in_groups(export: Artifact, shared: Folder) -> bool:
    """Whether the images of an export are in groups."""
    return opened(shared.child(f"cluster-{export.manifest.inputs['groups']}")).facts["by"] != "none"


def generations(work: Folder) -> list[dict]:
    """What each run has written into a copy, or removed from it."""
    return work.read_json(GENERATIONS)["generations"] if work.exists(GENERATIONS) else []


def shared_by(work: Folder, claim: dict) -> Folder:
    """The folder of the stages before the crafting: the copy's own work folder, or the one that the copies of a sweep share."""
    return work.resolve(claim["shared"]) if claim.get("shared") else work


def ledger_names(copy: ProtectedCopy) -> dict[str, int]:
    """From the name of an image in the copy to its id in the source."""
    folder = copy.artifacts["export"].folder
    id_of: dict[str, int] = {}
    for number in range(len(copy.artifacts["index"].folder.names("rows"))):
        lines = folder.read_table(f"ledger/{ledger_name(number)}", columns=("id", "name"))
        id_of |= {name: row for row, name in zip(lines["id"].to_pylist(), lines["name"].to_pylist()) if name}
    return id_of


def keys_by_name(copy: ProtectedCopy) -> dict[str, str]:
    """From the name of an image in the copy to its key in the source that it was made from; later generations wrote over earlier ones."""
    key_of: dict[str, str] = {}
    for export in copy.written:
        for part in export.folder.names("ledger"):
            lines = export.folder.read_table(f"ledger/{part}", columns=("key", "name"))
            key_of |= {name: key for name, key in zip(lines["name"].to_pylist(), lines["key"].to_pylist(), strict=True) if name}
    return key_of


def per(copy: ProtectedCopy) -> str:
    """Whether the copy's perturbations belong to groups or to single images."""
    return str(copy.artifacts["craft"].manifest.fields.get("per", "group")) if "craft" in copy.artifacts else "group"


def slots(copy: ProtectedCopy) -> np.ndarray:
    """int32 `N`: the group of every source row of a copy that was made here, -1 for rejected rows."""
    return group_slots(copy.artifacts["cluster"].folder)


def group_slots(groups: Folder) -> np.ndarray:
    """The same from the folder of a groups artifact."""
    return groups.read_table("slots.parquet", columns=("slot",))["slot"].to_numpy().astype(np.int32)


def slots_by_name(copy: ProtectedCopy) -> dict[str, int]:
    """From the key of each image in the copy's ledgers to its group; later generations wrote over earlier ones."""
    slot_of: dict[str, int] = {}
    for export in copy.exports:
        for name in export.folder.names("ledger"):
            lines = export.folder.read_table(f"ledger/{name}", columns=("key", "slot"))
            slot_of |= dict(zip(lines["key"].to_pylist(), lines["slot"].to_pylist(), strict=True))
    return slot_of


def has_groups(copy: ProtectedCopy) -> bool:
    """Whether the copy was made here, of images in groups."""
    return bool(copy.artifacts) and copy.artifacts["cluster"].facts.get("by") != "none"


def has_patterns(copy: ProtectedCopy) -> bool:
    """The same also of a copy that has grown: whether a random pattern for each group is a control of it."""
    return has_groups(copy) if copy.artifacts else bool(copy.exports)
