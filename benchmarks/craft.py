"""Crafting: image passes against what the UC authors' code would spend, and steps/s over a bare forward and backward."""

import time
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from benchmarks.data import origin, photos, thumbnails
from benchmarks.measure import Bench, Measure, cores
from ray_ue.config.recipe import SSL_BATCH as SSL_BATCH
from ray_ue.config.recipe import Recipe
from ray_ue.images.codec import decode_square
from ray_ue.loop import Step, Workers
from ray_ue.methods import View, build, by_group
from ray_ue.methods.uc import UC
from ray_ue.models.normalization import floats
from ray_ue.models.pretrained import specs, surrogates
from ray_ue.models.small import backbone
from ray_ue.objectives.aims import AIMS
from ray_ue.objectives.anchor import LOSSES
from ray_ue.stages.protect.craft import uc_passes

SIZES = (5_000, 50_000)
GOAL = 1 / 50
VIEWS = 2  # of each image in a step of contrastive training
SAMPLE, BLOCK = 2_000, 10


def measure(bench: Bench) -> Iterator[Measure]:
    recipe = Recipe(method="uc", surrogate="ssl:small", clusters=10, image_size=32)
    yield from passes(recipe)
    yield from speed(recipe, bench)


def passes(recipe: Recipe) -> Iterator[Measure]:
    """Arithmetic from the recipe's defaults; no image is read."""
    spent = build(recipe.method, asdict(recipe)).passes(recipe.craft_sample)
    training = recipe.ssl_steps * SSL_BATCH * VIEWS
    for rows in SIZES:
        reference = uc_passes(recipe.clusters, rows)
        detail = {"passes": spent, "reference": reference, "with_ssl_training": round((spent + training) / reference, 4)}
        yield Measure(what=f"craft: image passes / reference's, N = {rows:,}", value=spent / reference, most=GOAL, detail=detail)


def speed(recipe: Recipe, bench: Bench) -> Iterator[Measure]:
    """Blocks of crafting steps and of bare steps take turns, so that a busy machine slows both."""
    torch.set_num_threads(cores())
    view = sampled(recipe, bench)
    aim = AIMS[recipe.aim](view.centers, np.random.default_rng(0))
    method = build(recipe.method, asdict(recipe))
    steps = method.craft(view, budget=recipe.levels(), aim=aim, seed=0, workers=Workers(), resume={})
    batch = next(steps).images  # the batch is dealt evenly to the clusters, so a step may see fewer images than were asked for
    images = floats(view.pixels[:batch], device=view.surrogate.device)
    images = images[:, :, : view.surrogate.size, : view.surrogate.size]
    aimed = torch.from_numpy(view.centers[np.arange(batch) % len(view.centers)]).to(view.surrogate.device)
    crafting, bare_time, rounds = 0.0, 0.0, 3 if bench.quick else 10
    assert isinstance(method, UC)
    assert (rounds + 1) * BLOCK < method.steps
    follow(steps)
    bare(view, images, aimed, recipe)  # these two warm up
    for _ in range(rounds):
        crafting += follow(steps)
        bare_time += bare(view, images, aimed, recipe)
    count = rounds * BLOCK
    detail = {"surrogate": recipe.surrogate, "batch": batch, "images": origin(bench.photos), "steps": count}
    yield Measure(what="craft: steps / bare forward + backward", value=bare_time / crafting, detail=detail)
    yield Measure(what="craft: steps", value=count / crafting, unit="steps/s")
    yield Measure(what="craft: bare forward + backward", value=count / bare_time, unit="steps/s")


def sampled(recipe: Recipe, bench: Bench) -> View:
    """Small photographs with an untrained default surrogate and clusters by turns: the same work as with trained ones."""
    spec, device = specs.parse(recipe.surrogate), bench.device
    fresh = backbone(spec.arch, image_size=recipe.image_size, seed=0).state_dict()
    surrogate = surrogates.load(spec, device=device, image_size=recipe.image_size, weights=fresh)
    found = thumbnails(photos(bench.photos, count=64))
    pixels = np.stack([decode_square(next(found), size=surrogate.canvas, limits=recipe.limits()) for _ in range(SAMPLE)])
    slots = (np.arange(SAMPLE) % recipe.clusters).astype(np.int32)
    with torch.inference_mode():
        features = surrogate.features(floats(pixels, device=device)).cpu().numpy()
    centers = np.stack([features[slots == slot].mean(0) for slot in range(recipe.clusters)])
    return by_group(pixels, group_of=slots, centers=centers, surrogate=surrogate, budget=recipe.levels())


def follow(steps: Iterator[Step]) -> float:
    """Seconds of one block of crafting steps."""
    began = time.perf_counter()
    for _ in range(BLOCK):
        next(steps)
    return time.perf_counter() - began


def bare(view: View, images: Tensor, aimed: Tensor, recipe: Recipe) -> float:
    """Seconds of as many gradients of the loss with respect to the images, which no crafting can do without."""
    began = time.perf_counter()
    for _ in range(BLOCK):
        leaf = images.clone().requires_grad_()
        value = LOSSES[recipe.loss](view.surrogate.features(leaf), aimed).sum()
        float(torch.autograd.grad(value, leaf)[0].sum())
    return time.perf_counter() - began
