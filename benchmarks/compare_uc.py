"""Which UC settings protect best at equal cost: crafts on an ssl surrogate, trains victims, prints a table. No part of the package.

    python -m benchmarks.compare_uc --data digits --plan defaults --seeds 3 --out bench-out
    python -m benchmarks.compare_uc --data cifar --cifar ../shared/data/cifar10 --plan controls --seeds 3 --out bench-out

Every finished row is appended to `rows-<data>.jsonl` and skipped when the same line is run again.
"""

import argparse
import io
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from ray_ue.config.schedules import Schedule
from ray_ue.exploiter.dataset import Training
from ray_ue.exploiter.supervised import accuracy, train
from ray_ue.loop import Workers
from ray_ue.methods import View, by_group
from ray_ue.methods.uc import UC
from ray_ue.models import contrastive
from ray_ue.models.normalization import floats
from ray_ue.models.pretrained import specs, surrogates
from ray_ue.models.small import backbone, classifier
from ray_ue.objectives.aims import AIMS
from ray_ue.perturbations import Additive
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.controls import noise_like

CPU = torch.device("cpu")
SIDE = 32


@dataclass(frozen=True, kw_only=True)
class Data:
    """A collection, its clean test rows, and how a victim trains on it."""

    name: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    epochs: int
    flips: float
    ssl_steps: int
    ssl_batch: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table; "clean" and "noise" are the controls, "blocks" random 4x4 blocks per slot.

    `slots` "labels" gives every class its slot: no label-agnostic method, but the ceiling of what pure clusters could do.
    """

    method: str = "uc"
    k: int = 10
    levels: int = 16
    aim: str = "shift"
    slots: str = "kmeans"
    uc: UC = field(default_factory=UC)
    relabel: str = "own"
    victim: str = "plain"

    @property
    def label(self) -> str:
        where = f"k={self.k}" if self.slots == "kmeans" else "slots=labels"
        if self.method != "uc":
            return {"clean": "clean", "noise": f"noise {self.levels}/255"}.get(self.method, f"{self.method} {where} {self.levels}/255")
        u = self.uc
        return (
            f"{u.parameterization} {u.data_scope} {u.loss} {self.aim} {u.augment} {where} {self.levels}/255 "
            f"{u.steps}x{u.batch} lr={u.learning_rate:g}"
        )


def cifar(folder: Path) -> Data:
    def rows(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        table = pq.read_table(folder / name).slice(0, count)
        images = [np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in table["image"].to_pylist()]
        return np.stack(images), np.array(table["label"])

    made = rows("train-00.parquet", 5000), rows("test-00.parquet", 2000)
    return Data(name="cifar", train=made[0], test=made[1], epochs=6, flips=0.5, ssl_steps=600, ssl_batch=256)


def digits() -> Data:
    flat, target = load_digits(return_X_y=True)
    images = F.interpolate(
        torch.from_numpy(np.asarray(flat).reshape(-1, 8, 8) / 16).float()[:, None], (SIDE, SIDE), mode="bicubic", antialias=True
    )
    pixels = images.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).repeat(1, 1, 1, 3).numpy()
    order = np.random.default_rng(0).permutation(len(pixels))
    pixels, labels = pixels[order], np.asarray(target)[order]
    return Data(
        name="digits",
        train=(pixels[:1400], labels[:1400]),
        test=(pixels[1400:], labels[1400:]),
        epochs=6,
        flips=0.0,
        ssl_steps=100,
        ssl_batch=128,
    )


KINDS = ("horizontal", "vertical", "diagonal", "checks", "rings", "rays", "dots", "blobs", "grain", "ramp")


def texture(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A grey 32x32 pattern in [-1, 1] of one kind, at a random place, scale and phase."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float) - rng.uniform(8, 24, (2, 1, 1))
    period, phase = rng.uniform(5, 10), rng.uniform(0, 2 * np.pi)
    wave = 2 * np.pi / period
    smooth = Image.fromarray(rng.uniform(-1, 1, (6, 6)).astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    made = {
        "horizontal": np.sin(wave * y + phase),
        "vertical": np.sin(wave * x + phase),
        "diagonal": np.sin(wave * (x + rng.choice([-1, 1]) * y) / 1.4 + phase),
        "checks": np.sign(np.sin(wave * x + phase) * np.sin(wave * y + phase)),
        "rings": np.sin(wave * np.hypot(x, y) + phase),
        "rays": np.sin(rng.integers(4, 7) * np.arctan2(y, x) + phase),
        "dots": 2.0 * (np.sin(wave * x + phase) + np.sin(wave * y + phase) > 1.2) - 1,
        "blobs": np.clip(2 * np.asarray(smooth), -1, 1),
        "grain": rng.uniform(-1, 1, (SIDE, SIDE)),
        "ramp": np.clip((np.cos(phase) * x + np.sin(phase) * y) / 16, -1, 1),
    }
    return made[kind]


def textures() -> Data:
    """1,800 drawings of ten kinds of texture, each kind near a colour of its own: a collection whose clusters are nearly its classes."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(1800) % len(KINDS))
    pixels = []
    for label in labels:
        hue = 2 * np.pi * (label / len(KINDS) + np.array([0, 1 / 3, 2 / 3]))
        tint, contrast = 128 + 50 * np.cos(hue) + rng.uniform(-20, 20, 3), rng.uniform(25, 60)
        grey = texture(KINDS[label], rng)[:, :, None]
        pixels.append((tint + contrast * grey + rng.normal(0, 6, (SIDE, SIDE, 3))).round().clip(0, 255).astype(np.uint8))
    block = np.stack(pixels)
    return Data(
        name="textures",
        train=(block[:1400], labels[:1400]),
        test=(block[1400:], labels[1400:]),
        epochs=6,
        flips=0.5,
        ssl_steps=100,
        ssl_batch=128,
    )


def surrogate(data: Data, folder: Path, *, seed: int) -> surrogates.Surrogate:
    """The collection's own ssl:small, trained once per seed."""
    file = folder / f"ssl-{data.name}-{data.ssl_steps}-{seed}.safetensors"
    if not file.exists():
        net = backbone("small", image_size=SIDE, seed=seed)
        loop = contrastive.contrast(
            data.train[0], net=net, steps=data.ssl_steps, batch=data.ssl_batch, seed=seed, device=CPU, workers=Workers(), resume={}
        )
        *_, last = loop
        save_file(contrastive.weights(last.state()), file)
    return surrogates.load(specs.parse("ssl:small"), device=CPU, image_size=SIDE, weights=load_file(file))


def view(data: Data, net: surrogates.Surrogate, *, k: int, seed: int) -> View:
    pixels = data.train[0]
    with torch.no_grad():
        features = np.concatenate([net.features(floats(pixels[i : i + 500], device=CPU)).numpy() for i in range(0, len(pixels), 500)])
    means = faiss.Kmeans(
        features.shape[1], k, niter=50, nredo=5, seed=seed, max_points_per_centroid=len(features), min_points_per_centroid=1
    )
    means.train(features)
    assert means.index is not None
    assert means.centroids is not None
    _, nearest = means.index.search(features, 1)
    groups = nearest[:, 0].astype(np.int32)
    return by_group(pixels, group_of=groups, centers=means.centroids.copy(), surrogate=net, budget=Budget(levels=16))


def by_label(seen: View, labels: np.ndarray) -> View:
    """One slot per class, at the class's mean feature."""
    with torch.no_grad():
        parts = [seen.surrogate.features(floats(seen.pixels[i : i + 500], device=CPU)).numpy() for i in range(0, len(seen.pixels), 500)]
    features = np.concatenate(parts)
    centers = np.stack([features[labels == label].mean(0) for label in range(labels.max() + 1)])
    told = labels.astype(np.int32)
    return by_group(seen.pixels, group_of=told, centers=centers, surrogate=seen.surrogate, budget=Budget(levels=16))


def publish(setting: Setting, data: Data, folder: Path, *, seed: int) -> tuple[np.ndarray, dict]:
    """The pixels that the exploiter finds, and what they cost."""
    pixels, budget = data.train[0], Budget(levels=setting.levels)
    if setting.method == "clean":
        return pixels, {}
    if setting.method == "noise":
        rng = np.random.default_rng([seed, 1])
        return np.stack([noise_like(row, budget=budget, rng=rng) for row in pixels]), {}
    seen = view(data, surrogate(data, folder, seed=0), k=setting.k, seed=seed)  # one surrogate: seeds vary clusters, crafting and victim
    if setting.slots == "labels":
        seen = by_label(seen, data.train[1])
    if setting.method == "blocks":
        blocks = np.random.default_rng([seed, 2]).choice(np.array([-1, 1], np.int8), (len(seen.centers), 3, 8, 8)) * np.int8(setting.levels)
        poison = Additive(bank=blocks.repeat(4, 2).repeat(4, 3), budget=budget)
        return np.stack([poison.apply(row, slot) for row, slot in zip(pixels, seen.slot_of, strict=True)]), {}
    aim = AIMS[setting.aim](seen.centers, np.random.default_rng(seed))
    begun = time.perf_counter()
    losses, last = [], None
    for last in setting.uc.craft(seen, budget=budget, aim=aim, seed=seed, workers=Workers(), resume={}):
        losses.append(last.loss)
    assert last is not None
    poison = setting.uc.poison(last.state(), deltas=seen.deltas, budget=budget)
    assert isinstance(poison, Additive)
    made = np.stack([poison.apply(row, slot) for row, slot in zip(pixels, seen.slot_of, strict=True)])
    labels = data.train[1]
    purity = sum(np.bincount(labels[seen.slot_of == slot]).max(initial=0) for slot in range(len(seen.centers))) / len(labels)
    facts = {"loss_first": np.mean(losses[:5]), "loss_last": np.mean(losses[-5:]), "images": last.images, "purity": purity}
    return made, {name: round(float(value), 5) for name, value in facts.items()} | {
        "craft_s": round(time.perf_counter() - begun, 1),
        "mean_levels": round(float(np.abs(poison.bank.astype(int)).mean()), 2),
    }


def relabelled(labels: np.ndarray, relabel: str) -> np.ndarray:
    """The exploiter's labels: the collection's own, or pairs of classes merged."""
    return labels // 2 if relabel == "pairs" else labels


def measure(setting: Setting, data: Data, folder: Path, *, seed: int) -> dict:
    made, facts = publish(setting, data, folder, seed=seed)
    labels, truth = relabelled(data.train[1], setting.relabel), relabelled(data.test[1], setting.relabel)
    begun = time.perf_counter()
    net = classifier(setting.victim, image_size=SIDE, classes=int(labels.max()) + 1, seed=seed + 100)
    schedule = Schedule(epochs=data.epochs, batch=64, lr=0.1, decay=5e-4, nesterov=True, warm=0.2)
    training = Training(pixels=made, clean=data.train[0], labels=labels, classes=int(labels.max()) + 1)
    follow = {"size": SIDE, "flips": data.flips, "seed": seed, "device": CPU, "workers": Workers(), "resume": {}}
    for last in train(training, net=net, schedule=schedule, **follow):  # noqa: B007
        pass
    reached = {"accuracy": accuracy(net, data.test[0], truth, size=SIDE), "train_loss": last.loss}
    return facts | reached | {"victim_s": time.perf_counter() - begun}


BASE = Setting(uc=UC(steps=400, batch=100, augment="before"))
NOISE, CLEAN = Setting(method="noise"), Setting(method="clean")
FAITHFUL = UC(steps=400, batch=100, learning_rate=1e-4, parameterization="generator", data_scope="all", augment="before")


def change(
    setting: Setting = BASE, *, k: int = 0, levels: int = 0, aim: str = "", relabel: str = "", victim: str = "", **uc: object
) -> Setting:
    """`setting` with some fields changed; the rest go to UC."""
    top = {name: value for name, value in {"k": k, "levels": levels, "aim": aim, "relabel": relabel, "victim": victim}.items() if value}
    return replace(setting, **top, uc=replace(setting.uc, **uc))  # type: ignore[arg-type]


CLASSES = replace(BASE, slots="labels")

PLANS: dict[str, list[Setting]] = {
    # UC on clusters and on classes beside the controls.
    "controls": [CLEAN, NOISE, BASE, CLASSES],
    # What should the defaults be? On classes, where a difference shows; a row changes one thing of the default.
    "defaults": [
        CLEAN,
        NOISE,
        BASE,
        CLASSES,
        change(CLASSES, data_scope="all"),
        change(CLASSES, augment="after"),
        change(CLASSES, loss="l2"),
        change(CLASSES, loss="cosine"),
        change(CLASSES, aim="random"),
        change(CLASSES, aim="farthest"),
        change(CLASSES, levels=8),
    ],
    # Crop and flip before the delta is added (the authors' code) instead of after; an exploiter who merges classes in pairs.
    "augment": [BASE, change(augment="after"), CLASSES, change(CLASSES, augment="after")],
    "scope": [change(data_scope="all"), change(k=50), change(aim="farthest")],
    "pairs": [replace(setting, relabel="pairs") for setting in (CLEAN, NOISE, BASE, CLASSES)],
    # The authors' settings at the default's image passes, and the generator alone.
    "generator": [
        CLASSES,
        replace(CLASSES, uc=FAITHFUL),
    ],
    "screen": [
        CLEAN,
        NOISE,
        BASE,
        change(loss="l2"),
        change(loss="cosine"),
        change(data_scope="all"),
        change(augment="before"),
        change(aim="random"),
        change(aim="farthest"),
        change(k=20),
        change(k=50),
        change(learning_rate=0.02),
        change(learning_rate=0.5),
        change(steps=100),
    ],
    "ceiling": [
        CLEAN,
        NOISE,
        replace(BASE, method="blocks"),
        replace(BASE, method="blocks", slots="labels"),
        BASE,
        replace(BASE, slots="labels"),
    ],
}


def table(rows: list[dict]) -> str:
    """One markdown line per setting: mean and spread over seeds."""
    lines = [
        "| setting | labels | victim | n | clean-test accuracy % | image passes | craft s | loss first -> last |",
        "|" + "---|" * 9,
    ]
    groups: dict[tuple[str, str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["label"], row["relabel"], row["victim"]), []).append(row)
    for (label, relabel, victim), group in groups.items():
        final = [100 * row["accuracy"] for row in group]
        spread = f" ± {np.std(final, ddof=1):.1f}" if len(group) > 1 else ""
        one = group[0]
        cost = f"{one['images']:.0f} | {one['craft_s']} | {one['loss_first']:.4f} -> {one['loss_last']:.4f}" if "images" in one else "| |"
        lines.append(f"| {label} | {relabel} | {victim} | {len(group)} | {np.mean(final):.1f}{spread} | {cost} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["digits", "textures", "cifar"], required=True)
    parser.add_argument("--cifar", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--plan", choices=sorted(PLANS), required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = cifar(options.cifar) if options.data == "cifar" else {"digits": digits, "textures": textures}[options.data]()
    file = options.out / f"rows-{data.name}.jsonl"
    done = {row["key"]: row for row in map(json.loads, file.read_text().splitlines())} if file.exists() else {}
    rows = []
    for setting in PLANS[options.plan]:
        for seed in range(options.seeds):
            key = json.dumps({**asdict(setting), "seed": seed, "epochs": data.epochs, "ssl": data.ssl_steps}, sort_keys=True)
            if key not in done:
                found = measure(setting, data, options.out, seed=seed)
                facts = {"key": key, "label": setting.label, "relabel": setting.relabel, "victim": setting.victim, "seed": seed}
                done[key] = facts | found
                with file.open("a") as lines:
                    lines.write(json.dumps(done[key]) + "\n")
                print(f"{setting.label} {setting.relabel} seed {seed}: {json.dumps(found)}", flush=True)
            rows.append(done[key])
    print(table(rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    main()
