"""Craft: train one perturbation per slot under Ray Train and save the bank exactly as it was measured."""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from ray_ue.aims import AIMS
from ray_ue.artifacts import Artifact, Folder
from ray_ue.methods import View
from ray_ue.methods import build as build_method
from ray_ue.poisons import Additive
from ray_ue.recipe import Recipe
from ray_ue.stages.base import Run, stage
from ray_ue.stages.cluster import open_groups
from ray_ue.stages.embed import fetchable, open_surrogate
from ray_ue.stages.loop import run_loop
from ray_ue.stages.views import open_views
from ray_ue.steps import Step, Workers

VERSION = 1
FIELDS = (
    "surrogate",
    "image_size",
    "budget",
    "method",
    "aim",
    "steps",
    "batch",
    "learning_rate",
    "parameterization",
    "data_scope",
    "loss",
    "augment",
    "seed",
)


def craft(run: Run, *, sample: Artifact, weights: dict[str, Artifact], groups: Artifact) -> Artifact:
    """The poison artifact: `bank.safetensors`, int8 [S, 3, h, w] in whole levels."""
    inputs = {"sample": sample, "groups": groups, **weights}
    fields = run.recipe.values(FIELDS)
    return stage(
        run, "craft", version=VERSION, fields=fields, inputs=inputs, build=lambda folder: build(run, sample, weights, groups, folder)
    )


def build(run: Run, sample: Artifact, weights: dict[str, Artifact], groups: Artifact, folder: Folder) -> dict:
    recipe = run.recipe
    arguments = {"recipe": recipe, "sample": sample.folder, "weights": fetchable(weights), "groups": groups.folder}
    state, facts = run_loop(run, folder, name="craft", steps=recipe.steps, loop=follow, arguments=arguments)
    budget = recipe.levels()
    bank = build_method(recipe.method, asdict(recipe)).bank(state, budget=budget)
    poison = Additive(bank=bank, budget=budget)
    folder.write("bank.safetensors", poison.dumps())
    spent = np.abs(bank.astype(np.int16))
    reached = {"mean_levels": round(float(spent.mean()), 3), "max_levels": int(spent.max()), "shape": list(bank.shape)}
    return facts | reached | {"reference_images": reference_passes(len(bank), sample.facts["of"])}


def reference_passes(slots: int, rows: int) -> int:
    """Image passes that the authors' code would spend: slots x 50 epochs x all rows."""
    return slots * 50 * rows


def follow(
    *,
    recipe: Recipe,
    sample: Folder,
    weights: Folder | str,
    groups: Folder,
    device: torch.device,
    workers: Workers,
    resume: dict[str, Tensor],
) -> Iterator[Step]:
    """The crafting loop of the recipe's method over the sampled rows that have a slot."""
    found = open_groups(groups)
    pixels, ids = open_views(sample)
    slot_of = found.slot_of[ids]
    assert (slot_of >= 0).all(), "a sampled view was read, so its row was embedded as well"
    view = View(
        pixels=pixels,
        slot_of=slot_of,
        centers=found.centers,
        surrogate=open_surrogate(recipe.surrogate, weights=weights, image_size=recipe.image_size, device=device),
    )
    aim = AIMS[recipe.aim](found.centers, np.random.default_rng(recipe.seed))
    yield from build_method(recipe.method, asdict(recipe)).craft(
        view, budget=recipe.levels(), aim=aim, seed=recipe.seed, workers=workers, resume=resume
    )


def open_poison(folder: Folder) -> Additive:
    return Additive.load(folder.fetch("bank.safetensors"))
