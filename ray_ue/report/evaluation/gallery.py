"""Pictures before and after protection with their difference, and one picture per cluster."""

import base64
import re
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ray_ue.images.codec import Limits, Rejected, decode
from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.maps import size_chart
from ray_ue.storage.artifacts import Folder
from ray_ue.types import Pixels

MOST_PAIRS, MOST_SAMPLES = 12, 60
ZOOM, SAMPLE = 512, 128  # longest side in pixels of what the page holds
EXACT = 128  # up to this side pictures are kept losslessly
QUALITY = 85
GAIN = 10


def gallery(evaluation: EvaluationFolder) -> dict[str, dict[str, Any]]:
    return {copy: pairs(evaluation, copy) for copy in evaluation.names}


def pairs(evaluation: EvaluationFolder, copy: str) -> dict[str, Any]:
    """The pictures of a copy, and why some are missing."""
    looks = evaluation.looks(copy)
    befores = [name for name in looks.names() if name.startswith("before-") and name.endswith(".png")]
    shown, missing = [], []
    named = [(name, name.replace("before-", "after-"), f"{copy}, image {number}") for number, name in enumerate(befores[:MOST_PAIRS], 1)]
    first = ""
    if looks.exists("visible.json"):
        searched = looks.read_json("visible.json")["pairs"]
        first = f"first the most visible of {searched}; "
        named.insert(0, ("visible-before.png", "visible-after.png", f"{copy}, the most visible of {searched}"))
    for name, after_name, about in named:
        try:
            before, after = read_picture(looks, name), read_picture(looks, after_name)
            shown.append(pair(before, after, about=about))
        except (Rejected, ValueError, FileNotFoundError) as error:
            missing.append((f"{name} is not shown:", str(error)))
    if not shown and not missing:
        missing.append((f"No pictures of {copy}:", f"the evaluation wrote none to looks/{copy}."))
    return {"pairs": shown, "missing": missing, "first": first}


def read_picture(looks: Folder, name: str) -> Pixels:
    return decode(looks.read(name), limits=Limits(min_side=1)).rgb


def pair(before: Pixels, after: UInt8[np.ndarray, "h w 3"], *, about: str) -> dict[str, Any]:
    """Before, difference and after, for the macro `pairs`."""
    if before.shape != after.shape:
        raise ValueError(f"it has {before.shape[1]}x{before.shape[0]} pixels, the protected one {after.shape[1]}x{after.shape[0]}")
    noise = np.clip(128 + GAIN * (after.astype(np.int16) - before), 0, 255).astype(np.uint8)
    three = ((before, "before"), (noise, f"difference times {GAIN}"), (after, "after"))
    return {"about": about, "images": [inline_image(pixels, alt=f"{about}, {what}", most=ZOOM) for pixels, what in three]}


def inline_image(pixels: Pixels, *, alt: str, most: int) -> dict[str, Any]:
    """The attributes of an `<img>` with inline bytes, reduced to at most `most` pixels."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((most, most), Image.Resampling.LANCZOS)
    exact, out = max(picture.size) <= EXACT, BytesIO()
    kind, settings = ("png", {"optimize": True}) if exact else ("webp", {"quality": QUALITY, "method": 4})
    picture.save(out, format=kind, **settings)
    source = f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
    return {"alt": alt, "width": picture.width, "height": picture.height, "source": source, "exact": exact}


def clusters(evaluation: EvaluationFolder) -> dict[str, dict[str, Any]]:
    return {copy: cluster_samples(evaluation, number, copy) for number, copy in evaluation.each()}


def cluster_samples(evaluation: EvaluationFolder, number: int, copy: str) -> dict[str, Any]:
    """A chart of the sizes and a sample of each cluster, or `missing`, which says why there are none."""
    looks = evaluation.looks(copy)
    if not looks.exists("clusters.json"):
        return {"sizes": None, "missing": "the evaluation did not find the copy's private folder."}
    description = looks.read_json("clusters.json")
    counts = [int(count) for count in description["sizes"]]
    if not counts:
        return {"sizes": None, "missing": "clusters.json lists none."}
    names_of_files = set(looks.names())
    named = [(int(digits[-1]), name) for name in description.get("samples", []) if (digits := re.findall(r"\d+", name))]
    names = sorted((cluster, name) for cluster, name in named if name in names_of_files and cluster < len(counts))
    samples = []
    for cluster, name in names[:MOST_SAMPLES]:
        try:
            image = inline_image(read_picture(looks, name), alt=f"An image of cluster {cluster}", most=SAMPLE)
            samples.append({"image": image, "text": f"{cluster}: {counts[cluster]:,}"})
        except Rejected as error:
            samples.append({"image": None, "name": name, "error": str(error)})
    return {"sizes": size_chart(f"sizes-{number}", counts, caption=copy), "samples": samples, "count": len(counts)}
