"""Looks: what a report shows beside numbers - pictures before and after, a picture per cluster, and features of some rows."""

import numpy as np
import ray
import torch

from ray_ue.artifacts import Folder
from ray_ue.images import Picture, encode
from ray_ue.perceptual import absent, lpips
from ray_ue.stages.copies import Copy, slots
from ray_ue.stages.dataset import Data
from ray_ue.stages.embed import fetchable, open_surrogate
from ray_ue.stages.matching import Pairs
from ray_ue.stages.views import Plain
from ray_ue.types import PixelBlock

PICTURES, CLUSTERS, MAPPED = 12, 100, 600
MOST = 512  # pixels of a picture's side; the middle of a larger one is shown, for scaling would change the perturbation


def look(data: Data, copy: Copy, *, home: Folder) -> None:
    """Write `looks/<copy>/` of the run folder once; a finished one has `done.json`."""
    folder = home.child("looks").child(copy.name)
    stamp = {"copy": copy.identity(), "match": data.match(copy, like=copy).fingerprint}
    if folder.exists("done.json") and folder.read_json("done.json") == stamp:
        return
    pairs = data.pairs(copy)
    draw_pairs(data, copy, pairs, folder)
    if data.placed_here(copy):
        draw_clusters(data, copy, pairs, folder)
    map_features(data, copy, pairs, folder)
    folder.write_json("done.json", stamp)


def draw_pairs(data: Data, copy: Copy, pairs: Pairs, folder: Folder) -> None:
    few = np.linspace(0, len(pairs.clean) - 1, min(PICTURES, len(pairs.clean))).astype(int)
    shown, kept = 0, []
    for place in few.tolist():
        before = data.glance(data.clean_uri, data.clean_index, pairs.clean[place : place + 1])[0]
        after = data.glance(copy.uri, data.index_of(copy.uri), pairs.copy[place : place + 1])[0]
        if before is not None and after is not None and before.shape == after.shape:
            folder.write(f"before-{shown:02d}.png", png(before))
            folder.write(f"after-{shown:02d}.png", png(after))
            kept.append((middle(before), middle(after)))
            shown += 1
    if not (lack := absent()) and kept:
        distances = lpips(kept)
        folder.write_json("lpips.json", {"mean": float(np.mean(distances)), "most": max(distances), "pairs": len(distances)})
    else:
        folder.write("lpips.txt", (lack or "LPIPS is not measured: no pair of images could be shown").encode())


def middle(rgb: np.ndarray) -> np.ndarray:
    top, left = (max(0, (side - MOST) // 2) for side in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + MOST, left : left + MOST])


def png(rgb: np.ndarray) -> bytes:
    """The middle of an image, losslessly."""
    return encode(Picture(rgb=middle(rgb), alpha=None, exif=b"", icc=b""), format="png")


def draw_clusters(data: Data, copy: Copy, pairs: Pairs, folder: Folder) -> None:
    """One published image of every cluster, the one in the middle of its rows."""
    slot_of = slots(copy)
    sizes = np.bincount(slot_of[slot_of >= 0], minlength=int(slot_of.max(initial=0)) + 1)
    names = []
    for slot in range(min(len(sizes), CLUSTERS)):
        rows = pairs.copy[slot_of[pairs.clean] == slot]
        image = data.glance(copy.uri, data.index_of(copy.uri), rows[len(rows) // 2 :][:1])[0] if len(rows) else None
        if image is not None:
            folder.write(f"cluster-{slot:03d}.png", png(image))
            names.append(f"cluster-{slot:03d}.png")
    folder.write_json("clusters.json", {"sizes": sizes.tolist(), "samples": names})


def map_features(data: Data, copy: Copy, pairs: Pairs, folder: Folder) -> None:
    """`features.npz` of some rows before and after, under the network that the perturbation was crafted against."""
    if copy.recipe is None or "craft" not in copy.artifacts:
        text = f"the work folder {copy.uri}.ray-ue is not there, so the network that the perturbation was crafted against is unknown"
        folder.write("features.txt", text.encode())
        return
    unseen = copy.recipe.embeddings and "surrogate" not in copy.artifacts["craft"].manifest.fields  # clustered by another network
    if "embed" not in copy.artifacts or unseen:
        folder.write("features.txt", b"the perturbation was crafted without a frozen network, so there are no features to show")
        return
    if not data.placed_here(copy):
        folder.write("features.txt", b"the clean images are not listed as they were when the copy was made, so its clusters are unknown")
        return
    few = np.linspace(0, len(pairs.clean) - 1, min(MAPPED, len(pairs.clean))).astype(int)
    clean, copied = pairs.clean[few], pairs.copy[few]
    canvas, _ = copy.recipe.geometry()
    see = Plain(canvas=canvas, limits=data.recipe.limits())
    found = []
    for uri, listed, ids in ((data.clean_uri, data.clean_index, clean), (copy.uri, data.index_of(copy.uri), copied)):
        order = np.argsort(ids)
        seen = dict(zip(ids[order].tolist(), data.few(uri, listed, ids[order], see=see)))
        found.append([seen[row] for row in ids.tolist()])
    good = [place for place, (one, two) in enumerate(zip(*found)) if one is not None and two is not None]
    before, after = (np.stack([views[place] for place in good]) for views in found)
    weights = fetchable({"surrogate": copy.artifacts["surrogate"]} if "surrogate" in copy.artifacts else {})
    task = ray.remote(num_gpus=data.resources.gpus_per_encoder if data.machines.gpus else 0)(features_of)
    one, two = ray.get(task.remote(before, after, copy.recipe.surrogate, weights, copy.recipe.image_size, data.machines.cores))
    labels = data.true_labels[clean[good]]
    with folder.writing("features.npz") as file:
        np.savez(file, clean=one, protected=two, slot=slots(copy)[clean[good]], label=labels.astype(np.int32))


def features_of(before: PixelBlock, after: PixelBlock, surrogate: str, weights: Folder | str, image_size: int, cores: int) -> tuple:
    """The surrogate's features of two sets of views, on the GPU when the task has one."""
    torch.set_num_threads(cores)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = open_surrogate(surrogate, weights=weights, image_size=image_size, device=device)
    found = []
    with torch.inference_mode():
        for pixels in (before, after):
            whole = torch.from_numpy(pixels).to(device)
            parts = [part.permute(0, 3, 1, 2).float() / 255 for part in whole.split(64)]
            found.append(torch.cat([net.features(part) for part in parts]).float().cpu().numpy())
    return tuple(found)
