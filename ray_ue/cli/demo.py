"""The demo: protect scikit-learn's handwritten digits in two ways, then train victims on each copy and on two controls."""

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

from ray_ue.config.recipe import Resources
from ray_ue.config.schedules import Schedule
from ray_ue.exploiter.dataset import Training
from ray_ue.exploiter.supervised import accuracy, train
from ray_ue.images.codec import Limits, Picture, decode, encode
from ray_ue.loop import Workers
from ray_ue.models.small import classifier
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.controls import noise_like
from ray_ue.pipelines.protect import protect
from ray_ue.progress import say
from ray_ue.storage.artifacts import Artifact

SIDE = 32
TRAIN = 1400  # of 1,797; the rest is the clean test set
SEEDS = (0, 1, 2)
SCHEDULE = Schedule(epochs=6, batch=64, lr=0.1, decay=5e-4, nesterov=True, warm=0.2)
CLASSES = 10
BUDGET = "16/255"
RECIPE = {"budget": BUDGET, "ssl_steps": 60, "steps": 200}
ROWS = {
    "clean": "clean (control)",
    "noise": "random noise of the same size (control)",
    "classes": "protected, --groups label",
    "clusters": "protected, --groups kmeans",
}


def load_digit_images(side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 digits in a fixed random order, as uint8 `N side side 3`, and their labels."""
    data_set = cast(Any, load_digits())
    order = np.random.default_rng(0).permutation(len(data_set.target))
    images = [
        Image.fromarray((image * 255 / 16).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        for image in data_set.images[order]
    ]
    return np.stack([np.asarray(image.convert("RGB")) for image in images]), data_set.target[order]


def write_folder(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    """Write one PNG per image, in a folder per class."""
    for number, (image, label) in enumerate(zip(pixels, labels)):
        path = folder / str(label) / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(Picture(rgb=image, alpha=None, exif=b"", icc=b""), format="png"))


def read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read what an exploiter reads: pixels and class numbers, in the order of the file names."""
    files = sorted(folder.glob("*/*.png"), key=lambda path: path.name)
    return np.stack([decode(path.read_bytes(), limits=Limits()).rgb for path in files]), np.array([int(path.parent.name) for path in files])


def add_noise(pixels: np.ndarray, budget: Budget) -> np.ndarray:
    """Add different random noise at the same budget to each image, as a control."""
    rng = np.random.default_rng(0)
    return np.stack([noise_like(image, budget=budget, rng=rng) for image in pixels])


def victim_accuracies(folder: Path, test: tuple[np.ndarray, np.ndarray]) -> Iterator[float]:
    """Clean-test accuracy of one victim per seed, trained on `folder`."""
    pixels, labels = read_folder(folder)
    training = Training(pixels=pixels, clean=pixels, labels=labels, classes=CLASSES)
    for seed in SEEDS:
        net = classifier("plain", image_size=SIDE, classes=CLASSES, seed=seed)
        run = {"seed": seed, "device": torch.device("cpu"), "workers": Workers(), "resume": {}}
        for _ in train(training, net=net, schedule=SCHEDULE, size=SIDE, flips=0.0, **run):
            pass
        yield accuracy(net, *test, size=SIDE)


def draw_examples(folders: dict[str, Path], target: Path, *, columns: int = 10, zoom: int = 3) -> None:
    """Draw rows of images before, after, and their difference times 8 around grey."""
    clean, labels = read_folder(folders["clean"])
    protected, _ = read_folder(folders["classes"])
    chosen = [int(np.flatnonzero(labels == label)[0]) for label in range(columns)]
    difference = (128 + 8 * (protected[chosen].astype(int) - clean[chosen])).clip(0, 255).astype(np.uint8)
    rows = {"before": clean[chosen], "after": protected[chosen], "noise x 8": difference}
    cell, margin = SIDE * zoom, 90
    page = Image.new("RGB", (margin + columns * (cell + 4), len(rows) * (cell + 4)), "white")
    pen = ImageDraw.Draw(page)
    for y, (name, images) in enumerate(rows.items()):
        pen.text((8, y * (cell + 4) + cell // 2 - 6), name, fill="black", font_size=14)
        for x, image in enumerate(images):
            page.paste(Image.fromarray(image).resize((cell, cell), Image.Resampling.NEAREST), (margin + x * (cell + 4), y * (cell + 4)))
    page.save(target)


def protect_twice(clean: Path, folders: dict[str, Path]) -> dict[str, Artifact]:
    """Protect by clusters and by classes; the second run reuses the listing, surrogate and embeddings of the first."""
    local = Resources(workers="local")
    protect(str(clean), str(folders["clusters"]), resources=local, **RECIPE)
    first, second = (Path(f"{folders[name]}.ray-ue") for name in ("clusters", "classes"))
    for stage in ("index", "sample", "surrogate", "embed"):
        for done in first.glob(f"{stage}-*"):
            shutil.copytree(done, second / done.name, dirs_exist_ok=True)
    return protect(str(clean), str(folders["classes"]), resources=local, groups="label", **RECIPE)


def main(root: Path = Path("demo-out")) -> int:
    """Run the demo in `root`, and print its table."""
    began = time.monotonic()
    pixels, labels = load_digit_images()
    test = (pixels[TRAIN:], labels[TRAIN:])
    folders = {name: root / f"digits-{name}" for name in ROWS}
    write_folder(folders["clean"], pixels[:TRAIN], labels[:TRAIN])
    write_folder(folders["noise"], add_noise(pixels[:TRAIN], Budget.parse(BUDGET)), labels[:TRAIN])
    facts = protect_twice(folders["clean"], folders)["export"].facts
    draw_examples(folders, root / "before-after-noise.png")
    say(f"   victim  training {len(SEEDS)} on each of {len(ROWS)} copies")
    print(f"\nA small victim trained on {TRAIN:,} digits, tested on {len(test[1])} clean ones; chance is {100 // CLASSES} %.\n")
    print(f"| {'trained on':39} | clean-test accuracy, % |\n|{'-' * 41}|------------------------|")
    for name, title in ROWS.items():
        accuracies = 100 * np.array(list(victim_accuracies(folders[name], test)))
        print(f"| {title:39} | {accuracies.mean():5.1f} ± {accuracies.std(ddof=1):3.1f}  (n = {len(accuracies)})  |", flush=True)
    print(CAUTION)
    print(f"protected copy  {folders['classes']}  (largest change {facts['most_levels']}/255, PSNR {facts['psnr_mean']} dB)")
    print(f"picture         {root / 'before-after-noise.png'}")
    print(f"took            {time.monotonic() - began:.0f} s")
    return 0


CAUTION = """
Read these numbers with care. Class-wise perturbations protect only against an exploiter who uses the same labels. Digits are the
easiest images: a surrogate trained on 1,400 of them gives clusters that predict the classes too weakly to protect. For label-agnostic
protection of photographs use a strong surrogate, such as --surrogate open_clip:RN50/openai, and evaluate. docs/results.md has results.
"""

if __name__ == "__main__":
    sys.exit(main())
