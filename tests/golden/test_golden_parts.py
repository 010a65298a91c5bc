"""What the parts compute from fixed seeds, without Ray, is what was recorded: aims, labels, defenses, groups, estimates, measures."""

from dataclasses import astuple

import numpy as np
import pytest
import torch
from conftest import photo
from golden.comparing import compare, digest, skip_elsewhere
from grouping.test_kmeans import blobs
from information.test_estimators import FAST, SCALARS, correlated
from laws.test_aims import CENTERS
from laws.test_defense_laws import SPECS as DEFENSE_SPECS
from laws.test_defense_laws import altered
from laws.test_defense_laws import made as defended
from laws.test_relabel_laws import SPECS as RELABEL_SPECS
from laws.test_relabel_laws import known

from ray_ue.exploiter.labels import agreement
from ray_ue.exploiter.relabels import relabel
from ray_ue.grouping.kmeans import ByLabel, KMeans, Tally, assign
from ray_ue.grouping.sampling import draw_sample
from ray_ue.images.augment import draw_crops, pack_pixels, take_packed
from ray_ue.images.codec import Picture, encode, resized
from ray_ue.images.quality import compare as visibility
from ray_ue.information import groupwise
from ray_ue.objectives.aims import AIMS
from ray_ue.objectives.anchor import LOSSES
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.controls import noise_like

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _machine() -> None:
    skip_elsewhere()


def test_aims() -> None:
    compare("aims", {name: digest(aim(CENTERS, np.random.default_rng(0))) for name, aim in AIMS.items()})


def test_relabels() -> None:
    made = {spec: relabel(spec, known(), seed=1) for spec in RELABEL_SPECS}
    compare("relabels", {spec: digest([labels.train, labels.test, labels.names, labels.chance]) for spec, labels in made.items()})


def test_defenses() -> None:
    values = {}
    for spec in DEFENSE_SPECS:
        training = defended(spec, seed=3)
        images, targets = altered(training, seed=3)
        values[spec] = digest([training.pixels, training.labels, *training.holdout, images, targets])
    compare("defenses", values)


def test_groups() -> None:
    vectors, truth = blobs()
    values = {}
    for k, seed in ((4, 0), (6, 1), (10, 2)):
        fitted = KMeans(k=k, seed=seed).fit(vectors)
        slots, squares = assign(vectors, fitted)
        centers = Tally.of(vectors, slots, squares, k=k).centers(fitted)
        values[f"kmeans of {k}, seed {seed}"] = digest([fitted, slots, squares, centers])
        values[f"agreement of {k}"] = digest(agreement(slots, truth))
    values["labels"] = digest(ByLabel().slots(truth, np.arange(len(truth)) % 3 > 0))
    values["sample"] = digest([draw_sample(1000, size=100, seed=seed) for seed in range(3)])
    compare("groups", values)


def test_estimates_of_information() -> None:
    first, second = correlated(0.7, rows=300, width=4)
    rng = np.random.default_rng(4)
    estimates = {name: estimator(first, second, rng=np.random.default_rng(4), device=CPU) for name, estimator in FAST.items()}
    values = {name: digest([found.value, found.stderr, found.corrected, found.n]) for name, found in estimates.items()}
    values |= {f"of numbers, {name}": digest(estimate(first[:, 0], second[:, 0])) for name, (estimate, _) in SCALARS.items()}
    values["of groups"] = digest(astuple(groupwise(first, rng.integers(4, size=300))))
    compare("information", values)


def test_images() -> None:
    rng, rgb = np.random.default_rng(0), photo(1, height=40, width=52)
    noisy = noise_like(rgb, budget=Budget(levels=8), rng=rng)
    picture = Picture(rgb=rgb, alpha=rgb[..., 0], exif=b"", icc=b"")
    small = resized(picture, size=24)
    crops = draw_crops(6, canvas=40, size=32, flips=0.5, rng=rng)
    square = np.stack([photo(number, height=40, width=40) for number in range(6)])
    values = {format: digest(encode(picture, format=format)) for format in ("png", "webp")}
    values |= {"jpeg": digest(encode(Picture(rgb=rgb, alpha=None, exif=b"", icc=b""), format="jpeg"))}
    values |= {"noise": digest(noisy), "resized": digest([small.rgb, small.alpha])}
    values |= {"visibility": digest(astuple(visibility(rgb, noisy, ssim=True)))}
    values |= {"crops": digest(take_packed(pack_pixels(square, device=CPU), torch.arange(6), crops))}
    compare("images", values)


def test_losses() -> None:
    features, centers = (torch.randn((5, 64), generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    compare("losses", {name: digest(loss(features, centers)) for name, loss in LOSSES.items()})
