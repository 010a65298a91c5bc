"""Figures of a report: pictures before and after, how well they are told apart, a picture per cluster, and features of some rows."""

import math
from collections.abc import Iterator

import numpy as np
import ray
import torch

from ray_ue.engine.devices import assigned_device, own_threads
from ray_ue.engine.machines import most_cores
from ray_ue.exploiter.detector import detection
from ray_ue.images.codec import Picture, encode, square_view
from ray_ue.images.lpips import absent, lpips
from ray_ue.images.quality import compare
from ray_ue.results.evaluation import LPIPS, looks
from ray_ue.stages.evaluate.copies import ProtectedCopy, slots
from ray_ue.stages.evaluate.data import CopyData, EvaluationData
from ray_ue.stages.evaluate.rows import open_match
from ray_ue.stages.protect.embed import Encoder, fetchable
from ray_ue.stages.protect.index import labels_of
from ray_ue.stages.protect.views import PlainView, open_views
from ray_ue.storage.artifacts import Folder
from ray_ue.types import PixelBlock

PICTURES, CLUSTERS, MAPPED = 12, 100, 600
SEARCHED = 64  # pairs among which the most visible change is looked for
LEAST_TOLD_APART, TOLD_APART, DETECTOR = 40, 600, 32  # pairs of a detector's training and test, and the most pixels of a side that it sees
MOST = 512  # pixels of a picture's side; the middle of a larger one is shown, for scaling would change the perturbation


def draw_figures(data: EvaluationData, copied: CopyData, *, home: Folder) -> None:
    """Write `looks/<copy>/` of the run folder once; a finished one has `done.json`."""
    copy = copied.copy
    folder = looks(home, copy.name)
    stamp = {"copy": copy.identity(), "match": copied.match.fingerprint, "version": 2}
    if folder.exists("done.json") and folder.read_json("done.json") == stamp:
        return
    folder.remove()  # no figure of an earlier state of the copy stays
    draw_pairs(data, copied, folder)
    draw_most_visible(data, copied, folder)
    tell_apart(data, copied, folder)
    if data.knows_clusters_of(copy):
        draw_clusters(copied, folder)
    map_features(data, copied, folder)
    folder.write_json("done.json", stamp)


def some_pairs(data: EvaluationData, copied: CopyData, *, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of equal size, evenly over the rows."""
    pairs = copied.pairs
    for row in np.linspace(0, len(pairs.clean) - 1, min(most, len(pairs.clean))).astype(int).tolist():
        (before,), (after,) = data.clean.images(pairs.clean[row : row + 1]), copied.source.images(pairs.copy[row : row + 1])
        if before is not None and after is not None and before.shape == after.shape:
            yield before, after


def draw_most_visible(data: EvaluationData, copied: CopyData, folder: Folder) -> None:
    """The pair with the lowest SSIM among some: a change is seen most on what is flat, such as sky or skin."""
    measured = [(compare(before, after, ssim=True), before, after) for before, after in some_pairs(data, copied, most=SEARCHED)]
    known = [entry for entry in measured if not math.isnan(entry[0].ssim)]
    if not known:
        return
    worst, before, after = min(known, key=lambda entry: entry[0].ssim)
    folder.write("visible-before.png", png(before))
    folder.write("visible-after.png", png(after))
    folder.write_json("visible.json", {"pairs": len(known), "ssim": worst.ssim, "psnr": worst.psnr if math.isfinite(worst.psnr) else None})


def tell_apart(data: EvaluationData, copied: CopyData, folder: Folder) -> None:
    """How well a small network that was trained on half of some pairs tells the others' protected images from the clean ones."""
    rows = open_match(copied.match.folder)
    some = np.random.default_rng(0).permutation(len(rows["clean"]))[:TOLD_APART]
    if len(some) < LEAST_TOLD_APART:
        return
    views = (open_views(copied.clean.folder)[0][rows["clean"][some]], open_views(copied.protected.folder)[0][rows["copy"][some]])
    size = min(DETECTOR, data.size)
    clean, protected = (np.stack([square_view(rgb, size=size) for rgb in block]) for block in views)
    run = data.clean.run
    task = ray.remote(num_gpus=run.resources.gpus_per_encoder if run.machines.gpus else 0)(detection_of)
    share = ray.get(task.remote(clean, protected, size, most_cores(run.machines.hosts().nodes)))
    folder.write_json("detection.json", {"share": share, "pairs": len(some), "size": size})


def detection_of(clean: PixelBlock, protected: PixelBlock, size: int, cores: int) -> float:
    """On the GPU that Ray assigned to the task, if any."""
    torch.set_num_threads(own_threads(cores))
    return detection(clean, protected, size=size, seed=0, device=assigned_device())


def draw_pairs(data: EvaluationData, copied: CopyData, folder: Folder) -> None:
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for before, after in some_pairs(data, copied, most=PICTURES):
        folder.write(f"before-{len(kept):02d}.png", png(before))
        folder.write(f"after-{len(kept):02d}.png", png(after))
        kept.append((middle(before), middle(after)))
    if not write_lpips(kept, folder):
        folder.write("lpips.txt", (absent() or "LPIPS is not measured: no pair of images could be shown").encode())


def measure_lpips(data: EvaluationData, copied: CopyData, *, home: Folder) -> None:
    """Write `looks/<copy>/lpips.json` for a copy without pictures, where LPIPS can be measured."""
    if not absent():
        pairs = [(middle(before), middle(after)) for before, after in some_pairs(data, copied, most=PICTURES)]
        write_lpips(pairs, looks(home, copied.copy.name))


def write_lpips(pairs: list[tuple[np.ndarray, np.ndarray]], folder: Folder) -> bool:
    """Write the mean LPIPS of some pairs; whether there is one."""
    if absent() or not pairs:
        return False
    distances = lpips(pairs)
    folder.write_json(LPIPS, {"mean": float(np.mean(distances)), "most": max(distances), "pairs": len(distances)})
    return True


def middle(rgb: np.ndarray) -> np.ndarray:
    top, left = (max(0, (side - MOST) // 2) for side in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + MOST, left : left + MOST])


def png(rgb: np.ndarray) -> bytes:
    """The middle of an image, losslessly."""
    return encode(Picture(rgb=middle(rgb), alpha=None, exif=b"", icc=b""), format="png")


def draw_clusters(copied: CopyData, folder: Folder) -> None:
    """One published image of every cluster, the one in the middle of its rows."""
    slot_of, pairs = slots(copied.copy), copied.pairs
    sizes = np.bincount(slot_of[slot_of >= 0], minlength=int(slot_of.max(initial=0)) + 1)
    names = []
    for slot in range(min(len(sizes), CLUSTERS)):
        rows = pairs.copy[slot_of[pairs.clean] == slot]
        image = copied.source.images(rows[len(rows) // 2 :][:1])[0] if len(rows) else None
        if image is not None:
            folder.write(f"cluster-{slot:03d}.png", png(image))
            names.append(f"cluster-{slot:03d}.png")
    folder.write_json("clusters.json", {"sizes": sizes.tolist(), "samples": names})


def map_features(data: EvaluationData, copied: CopyData, folder: Folder) -> None:
    """`features.npz` of some rows before and after, under the network that the perturbation was crafted against."""
    copy, pairs = copied.copy, copied.pairs
    if lack := no_features(data, copy):
        folder.write("features.txt", lack.encode())
        return
    assert copy.recipe is not None
    some = np.linspace(0, len(pairs.clean) - 1, min(MAPPED, len(pairs.clean))).astype(int)
    run, rows = data.clean.run, pairs.clean[some]
    view = PlainView(canvas=copy.recipe.geometry()[0], limits=run.recipe.limits())
    views = data.clean.images(rows, view=view), copied.source.images(pairs.copy[some], view=view)
    pairs_read = [(row, one, two) for row, one, two in zip(rows.tolist(), *views) if one is not None and two is not None]
    before, after = (np.stack([entry[side] for entry in pairs_read]) for side in (1, 2))
    weights = fetchable({"surrogate": copy.artifacts["surrogate"]} if "surrogate" in copy.artifacts else {})
    task = ray.remote(num_gpus=run.resources.gpus_per_encoder if run.machines.gpus else 0)(features_of)
    one, two = ray.get(
        task.remote(before, after, copy.recipe.surrogate, weights, copy.recipe.image_size, most_cores(run.machines.hosts().nodes))
    )
    rows = np.array([row for row, _, _ in pairs_read])
    with folder.writing("features.npz") as file:
        np.savez(file, clean=one, protected=two, slot=slots(copy)[rows], label=labels_of(data.clean.index)[rows].astype(np.int32))


def no_features(data: EvaluationData, copy: ProtectedCopy) -> str:
    """Why a copy's features cannot be shown; empty where they can."""
    if copy.recipe and not copy.artifacts:
        return "pictures have joined the copy since it was made, and no one set of clusters has all of them"
    if copy.recipe is None or "craft" not in copy.artifacts:
        return f"the work folder {copy.uri}.ray-ue is not there, so the network that the perturbation was crafted against is unknown"
    unseen = copy.recipe.embeddings and "surrogate" not in copy.artifacts["craft"].manifest.fields  # clustered by another network
    if "embed" not in copy.artifacts or unseen:
        return "the perturbation was crafted without a frozen network, so there are no features to show"
    if not data.knows_clusters_of(copy):
        return "the clean images are not listed as they were when the copy was made, so its clusters are unknown"
    return ""


def features_of(before: PixelBlock, after: PixelBlock, surrogate: str, weights: Folder | str, image_size: int, cores: int) -> tuple:
    """The surrogate's features of two sets of views, on the GPU that Ray assigned to the task, if any."""
    encoder = Encoder(surrogate=surrogate, weights=weights, image_size=image_size, threads=cores)
    return tuple(np.concatenate([encoder.features(views[i : i + 64]) for i in range(0, len(views), 64)]) for views in (before, after))
