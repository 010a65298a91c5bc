"""Surrogate: train a self-supervised network on the collection itself, for those without downloaded weights."""

from collections.abc import Iterator

import torch
from safetensors.torch import save
from torch import Tensor

from ray_ue.config.recipe import SSL_BATCH
from ray_ue.engine.stage import Run, stage
from ray_ue.engine.train_loop import run_loop
from ray_ue.loop import Step, Workers
from ray_ue.models import contrastive
from ray_ue.models.pretrained import specs
from ray_ue.models.small import backbone
from ray_ue.stages.protect.views import open_views
from ray_ue.storage.artifacts import Artifact, Folder

VERSION = 2
FIELDS = ("surrogate", "image_size", "ssl_steps", "seed")


def train_surrogate(run: Run, *, sample: Artifact) -> dict[str, Artifact]:
    """{"surrogate": artifact with `weights.safetensors`} for an ssl surrogate, else {}: the others bring their weights."""
    if specs.parse(run.recipe.surrogate).kind != "ssl":
        return {}
    fields = run.recipe.values(FIELDS)
    weights = stage(
        run, "surrogate", version=VERSION, fields=fields, inputs={"sample": sample}, build=lambda folder: build(run, sample, folder)
    )
    return {"surrogate": weights}


def build(run: Run, sample: Artifact, folder: Folder) -> dict:
    recipe = run.recipe
    arguments = {"sample": sample.folder, "arch": specs.parse(recipe.surrogate).arch, "image_size": recipe.image_size}
    arguments |= {"steps": recipe.ssl_steps, "seed": recipe.seed}
    state, facts = run_loop(run, folder, name="surrogate", loop=contrast, arguments=arguments)
    folder.write("weights.safetensors", save(contrastive.weights(state)))
    return facts


def contrast(
    *, sample: Folder, arch: str, image_size: int, steps: int, seed: int, device: torch.device, workers: Workers, resume: dict[str, Tensor]
) -> Iterator[Step]:
    """The contrastive loop over the sampled views."""
    pixels, _ = open_views(sample)
    net = backbone(arch, image_size=image_size, seed=seed)
    yield from contrastive.contrast(pixels, net=net, steps=steps, batch=SSL_BATCH, seed=seed, device=device, workers=workers, resume=resume)
