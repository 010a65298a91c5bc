"""Craft: make the poison under Ray Train and save it exactly as it was measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ray_ue.config.recipe import Recipe, Resources
from ray_ue.config.stages import BANK, FURTHER
from ray_ue.engine.machines import Machines
from ray_ue.engine.stage import Run, stage
from ray_ue.engine.train_loop import run_loop, worker_count
from ray_ue.grouping.kmeans import NO_SLOT
from ray_ue.loop import Step, Workers
from ray_ue.methods import View
from ray_ue.methods.requirements import Requirements, requirements_of
from ray_ue.models.device_memory import fits, free_bytes
from ray_ue.models.pretrained.surrogates import blank
from ray_ue.objectives.aims import AIMS
from ray_ue.perturbations import Poison, open_poison_file
from ray_ue.perturbations.delta_table import DeltaTable, pools_for
from ray_ue.perturbations.resident_table import ResidentDeltaTable
from ray_ue.stages.protect.cluster import open_groups
from ray_ue.stages.protect.embed import fetchable, open_surrogate
from ray_ue.stages.protect.views import open_views
from ray_ue.storage.artifacts import Artifact, Folder
from ray_ue.types import SlotOf

VERSION = 5
FIELDS = ("budget", "method", "aim", "seed")
FROZEN = ("surrogate", "image_size")


def craft(run: Run, *, views: Artifact, weights: Mapping[str, Artifact], groups: Artifact, also: Sequence[Artifact]) -> Artifact:
    """The poison artifact: `bank.safetensors`. `weights` holds a trained surrogate, `also` the further groupings."""
    needs = requirements_of(run.recipe)
    method = needs.method
    inputs = {"views": views, "groups": groups, **weights}
    inputs |= {f"{FURTHER}{number}": artifact for number, artifact in enumerate(also)}
    fields = run.recipe.values(FIELDS) | {"per": needs.per, "settings": method.identity()}
    fields |= run.recipe.values(FROZEN) if method.uses_surrogate else {}
    fields |= {"shared deltas": "cut off"} if needs.per == "group" and method.per == "image" else {}  # from when networks see them so
    folders = {"views": views.folder, "groups": groups.folder, "also": tuple(artifact.folder for artifact in also)}
    folders |= {"weights": fetchable(weights) if method.uses_surrogate else ""}
    poison = stage(run, "craft", version=VERSION, fields=fields, inputs=inputs, build=lambda folder: build(run, views, folders, folder))
    poison.folder.remove("deltas")  # only now: until the manifest lies there, a kill must find the table
    return poison


def build(run: Run, views: Artifact, folders: Mapping[str, object], folder: Folder) -> dict:
    recipe, needs = run.recipe, requirements_of(run.recipe)
    run = replace(run, resources=fitting_resources(run.resources, needs, rows=views.facts["rows"], machines=run.machines))
    table = deltas_of(recipe, rows=views.facts["rows"], side=views.facts["canvas"], folder=folder)
    if needs.per == "image" and (count := worker_count(run)) > table.pools:
        raise ValueError(f"--workers {count} is too many: {table.rows:,} images make {table.pools} pool(s) for one worker each at least")
    state, facts = run_loop(run, folder, name="craft", loop=craft_loop, arguments={"recipe": recipe, "folder": folder, **folders})
    poison = needs.method.poison(state, deltas=table, budget=recipe.levels())
    with folder.writing(BANK) as file:
        poison.save(Path(file.name))  # a draft, which becomes the file when the block ends well
    rows = views.facts["rows"]
    return facts | {
        "slots": poison.slots,
        "most": poison.most,
        "passes": needs.method.passes(rows),
        "reference_images": uc_passes(recipe.clusters or poison.slots, views.facts["of"]),
    }


def fitting_resources(resources: Resources, needs: Requirements, *, rows: int, machines: Machines) -> Resources:
    """The resources with no more workers than the method can use on `rows` views."""
    if needs.per == "group" and not needs.method.passes(rows):
        return replace(resources, workers="local")  # done before a worker has started
    if (needs.method.single_worker or needs.method.trains_proxies) and machines.train_workers(resources) > 1:
        return replace(resources, workers="1")
    return resources


def uc_passes(clusters: int, rows: int) -> int:
    """Image passes that the UC authors' code would spend: clusters x 50 epochs x all rows."""
    return clusters * 50 * rows


def deltas_of(recipe: Recipe, *, rows: int, side: int, folder: Folder) -> DeltaTable:
    """The table that a method keeps one perturbation per image in; nothing is written before the method writes."""
    return DeltaTable(home=folder.child("deltas"), rows=rows, side=side, pools=pools_for(rows), budget=recipe.levels())


def resident_if_it_fits(table: DeltaTable, *, device: torch.device, workers: Workers) -> DeltaTable:
    """A worker's part of the table on its GPU, if there is one and it has room; else the table in its files."""
    if device.type == "cuda" and fits(table.bytes() // workers.world, device=device, free=free_bytes(device)):
        return ResidentDeltaTable.of(table, device=device, workers=workers)
    return table


def craft_loop(
    *,
    recipe: Recipe,
    folder: Folder,
    views: Folder,
    weights: Folder | str,
    groups: Folder,
    also: Sequence[Folder],
    device: torch.device,
    workers: Workers,
    resume: dict[str, Tensor],
) -> Iterator[Step]:
    """The crafting loop of the recipe's method over the sampled rows that have a slot."""
    needs = requirements_of(recipe)
    method, shared = needs.method, needs.per == "group"
    pixels, ids = open_views(views)
    groupings = [open_groups(grouping) for grouping in (groups, *also)]
    slots_of = [grouping.slot_of[ids] for grouping in groupings]
    assert all((slots >= 0).all() for slots in slots_of), "a sampled view was read, so its row has a group"
    side, centers = pixels.shape[1], groupings[0].centers
    table = deltas_of(recipe, rows=len(ids), side=side, folder=folder)
    view = View(
        pixels=pixels,
        slot_of=slots_of[0] if shared else np.arange(len(ids), dtype=np.int32),
        slots=len(centers) if shared else len(ids),
        group_of=slots_of[0],
        groups=len(centers),
        centers=centers,
        surrogate=open_surrogate(recipe.surrogate, weights=weights, image_size=recipe.image_size, device=device)
        if method.uses_surrogate
        else blank(side, device=device),
        deltas=table if shared else resident_if_it_fits(table, device=device, workers=workers),
        also=tuple(slots_of[1:]),
    )
    aim = AIMS[recipe.aim](centers, np.random.default_rng(recipe.seed))
    yield from method.craft(view, budget=recipe.levels(), aim=aim, seed=recipe.seed, workers=workers, resume=resume)


def open_poison(folder: Folder) -> Poison:
    return open_poison_file(folder.fetch(BANK))


def open_slots(poison: Artifact, *, groups: Artifact, views: Artifact) -> SlotOf:
    """int32 `N`: which entry of the bank each row of the source uses; -1 for rejected rows."""
    group_of = open_groups(groups.folder).slot_of
    if poison.manifest.fields["per"] == "group":
        return group_of
    ids = open_views(views.folder)[1]
    slot_of = np.full(len(group_of), NO_SLOT, np.int32)
    slot_of[ids] = np.arange(len(ids))
    return slot_of
