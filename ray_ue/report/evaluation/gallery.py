"""Pictures before and after protection with their difference, and one picture per cluster."""

import base64
import re
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ray_ue.images.codec import Limits, Rejected, decode
from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.maps import size_chart
from ray_ue.report.html import escape, figure, notice
from ray_ue.storage.artifacts import Folder
from ray_ue.types import Pixels

MOST_PAIRS, MOST_SAMPLES = 12, 60
ZOOM, SAMPLE = 512, 128  # longest side in pixels of what the page holds
EXACT = 128  # up to this side pictures are kept losslessly
QUALITY = 85
GAIN = 10


def gallery(evaluation: EvaluationFolder) -> str:
    return "".join(pairs(evaluation, number, copy) for number, copy in evaluation.each())


def pairs(evaluation: EvaluationFolder, number: int, copy: str) -> str:
    looks = evaluation.looks(copy)
    befores = [name for name in looks.names() if name.startswith("before-") and name.endswith(".png")]
    buttons, notices = [], []
    for name in befores[:MOST_PAIRS]:
        try:
            before, after = read_picture(looks, name), read_picture(looks, name.replace("before-", "after-"))
            buttons.append(pair_button(before, after, about=f"{copy}, image {len(buttons) + 1}"))
        except (Rejected, ValueError, FileNotFoundError) as error:
            notices.append(notice(f"{name} is not shown:", str(error)))
    if not buttons:
        return "".join(notices) or notice(f"No pictures of {copy}:", f"the evaluation wrote none to looks/{copy}.")
    note = f"before, difference times {GAIN} around grey, after; longest side at most {ZOOM} px; select one to enlarge"
    return figure(f"gallery-{number}", f'<div class="pairs">{"".join(buttons)}</div>', caption=copy, note=note) + "".join(notices)


def read_picture(looks: Folder, name: str) -> Pixels:
    return decode(looks.read(name), limits=Limits(min_side=1)).rgb


def pair_button(before: Pixels, after: UInt8[np.ndarray, "h w 3"], *, about: str) -> str:
    if before.shape != after.shape:
        raise ValueError(f"it has {before.shape[1]}x{before.shape[0]} pixels, the protected one {after.shape[1]}x{after.shape[0]}")
    noise = np.clip(128 + GAIN * (after.astype(np.int16) - before), 0, 255).astype(np.uint8)
    three = ((before, "before"), (noise, f"difference times {GAIN}"), (after, "after"))
    images = "".join(image_tag(pixels, alt=f"{about}, {what}", most=ZOOM) for pixels, what in three)
    return f'<button type="button" class="pair" aria-haspopup="dialog" aria-label="Enlarge {escape(about)}">{images}</button>'


def image_tag(pixels: Pixels, *, alt: str, most: int) -> str:
    """An `<img>` with inline bytes, reduced to at most `most` pixels."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((most, most), Image.Resampling.LANCZOS)
    small = max(picture.size) <= EXACT
    out = BytesIO()
    if small:
        picture.save(out, format="PNG", optimize=True)
    else:
        picture.save(out, format="WEBP", quality=QUALITY, method=4)
    data = base64.b64encode(out.getvalue()).decode()
    kind, width, height = "png" if small else "webp", *picture.size
    crisp = ' class="crisp"' if small else ""
    return f'<img{crisp} alt="{escape(alt)}" width="{width}" height="{height}" src="data:image/{kind};base64,{data}">'


def clusters(evaluation: EvaluationFolder) -> str:
    return "".join(cluster_samples(evaluation, number, copy) for number, copy in evaluation.each())


def cluster_samples(evaluation: EvaluationFolder, number: int, copy: str) -> str:
    looks = evaluation.looks(copy)
    if not looks.exists("clusters.json"):
        return notice(f"No clusters of {copy}:", "the evaluation did not find the copy's private folder.")
    description = looks.read_json("clusters.json")
    counts = [int(count) for count in description["sizes"]]
    if not counts:
        return notice(f"No clusters of {copy}:", "clusters.json lists none.")
    bars = size_chart(f"sizes-{number}", counts, caption=copy)
    names_of_files = set(looks.names())
    named = [(int(digits[-1]), name) for name in description.get("samples", []) if (digits := re.findall(r"\d+", name))]
    names = sorted((cluster, name) for cluster, name in named if name in names_of_files and cluster < len(counts))
    samples = []
    for cluster, name in names[:MOST_SAMPLES]:
        try:
            samples.append(sample_html(read_picture(looks, name), cluster, counts[cluster]))
        except Rejected as error:
            samples.append(notice(f"{name} is not shown:", str(error)))
    if not samples:
        return bars + notice(f"No samples of {copy}:", "no image of a cluster was written.")
    note = f"{len(samples)} of {len(counts)} clusters"
    return bars + figure(
        f"samples-{number}", f'<div class="samples">{"".join(samples)}</div>', caption=f"{copy}: one image of each cluster", note=note
    )


def sample_html(pixels: Pixels, at: int, count: int) -> str:
    return f"<div>{image_tag(pixels, alt=f'An image of cluster {at}', most=SAMPLE)}<span>{at}: {count:,}</span></div>"
