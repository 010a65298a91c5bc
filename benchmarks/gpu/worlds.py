"""What speeds and comparisons start from: networks, training sets, views and crafted banks on the check's pictures and device."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.gpu.rows import Setting
from ray_ue.exploiter.dataset import Training
from ray_ue.images.codec import square_view
from ray_ue.loop import Step, Workers
from ray_ue.methods import Method, View, by_group
from ray_ue.models.classifiers import classifier
from ray_ue.models.normalization import floats
from ray_ue.models.pretrained import specs
from ray_ue.models.pretrained.surrogates import Surrogate, blank, load
from ray_ue.perturbations import Poison
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable, pools_for
from ray_ue.stages.protect.craft import resident_if_it_fits
from ray_ue.storage.artifacts import Folder

BUDGET = Budget(levels=8)
LITE0 = "timm:tf_efficientnet_lite0"
GROUPS = 10


def network(arch: str, setting: Setting, *, seed: int = 0) -> nn.Module:
    """A fresh network for the check's pictures, on the CPU."""
    pictures = setting.pictures
    return classifier(arch, side=pictures.pixels.shape[1], classes=pictures.classes, sample=pictures.pixels[:2000], seed=seed)


def training(setting: Setting, rows: int) -> Training:
    pixels, labels = setting.pictures.rows(rows)
    return Training(pixels=pixels, clean=pixels, labels=labels, classes=setting.pictures.classes)


def surrogate(setting: Setting, *, side: int, device: torch.device) -> Surrogate:
    return load(specs.parse(LITE0), device=device, image_size=side, weights={})


def group_view(setting: Setting, *, rows: int, net: Surrogate) -> View:
    """Pictures at the surrogate's canvas, in groups by label, with the groups' mean features as centres."""
    pixels, labels = setting.pictures.rows(rows)
    large = np.stack([square_view(rgb, size=net.canvas) for rgb in pixels])
    groups = setting.pictures.classes
    with torch.inference_mode():
        features = torch.cat([net.features(floats(large[i : i + 64], device=net.device)).cpu() for i in range(0, rows, 64)]).numpy()
    kept = [labels == group if (labels == group).any() else np.ones(rows, bool) for group in range(groups)]  # few rows may miss a label
    centers = np.stack([features[which].mean(0) for which in kept]).astype(np.float32)
    return by_group(large, group_of=labels.astype(np.int32), centers=centers, surrogate=net, budget=BUDGET)


def image_view(setting: Setting, folder: Path, *, rows: int, device: torch.device) -> View:
    """Pictures with one delta each, in groups by label."""
    pixels, labels = setting.pictures.rows(rows)
    side, groups = pixels.shape[1], setting.pictures.classes
    table = DeltaTable(home=Folder.at(str(folder)), rows=rows, side=side, pools=pools_for(rows), budget=BUDGET)
    return View(
        pixels=pixels,
        slot_of=np.arange(rows, dtype=np.int32),
        slots=rows,
        group_of=labels.astype(np.int32),
        groups=groups,
        centers=np.zeros((groups, 0), np.float32),
        surrogate=blank(side, device=device),
        deltas=resident_if_it_fits(table, device=device, workers=Workers()),
    )


def crafting(method: Method, view: View) -> Iterator[Step]:
    """The steps of a method, each group aiming at the next."""
    aim = np.roll(np.arange(view.groups), -1)
    return method.craft(view, budget=BUDGET, aim=aim, seed=0, workers=Workers(), resume={})


def crafted(method: Method, view: View) -> Poison:
    """The poison of a whole crafting."""
    *_, last = crafting(method, view)
    return method.poison(last.state(), deltas=view.deltas, budget=BUDGET)
