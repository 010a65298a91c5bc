"""Pictures: before, what was added, after; and one of each cluster. It knows images, not results."""

import base64
import re
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ray_ue.images.codec import Limits, Rejected, decode
from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.maps import sizes
from ray_ue.report.html import escape, figure, missing
from ray_ue.storage.artifacts import Folder
from ray_ue.types import Pixels

MOST_PAIRS, MOST_SAMPLES = 12, 60
ZOOM, SAMPLE = 512, 128  # longest side in pixels of what the page holds
EXACT = 128  # up to this side pictures are kept losslessly
QUALITY = 85
GAIN = 10


def gallery(of: EvaluationFolder) -> str:
    return "".join(pairs(of, number, copy) for number, copy in of.each())


def pairs(of: EvaluationFolder, number: int, copy: str) -> str:
    looks = of.looks(copy)
    befores = [name for name in looks.names() if name.startswith("before-") and name.endswith(".png")]
    shown, broken = [], []
    for name in befores[:MOST_PAIRS]:
        try:
            before, after = picture(looks, name), picture(looks, name.replace("before-", "after-"))
            shown.append(pair(before, after, about=f"{copy}, image {len(shown) + 1}"))
        except (Rejected, ValueError, FileNotFoundError) as error:
            broken.append(missing(f"{name} is not shown:", str(error)))
    if not shown:
        return "".join(broken) or missing(f"No pictures of {copy}:", f"the evaluation wrote none to looks/{copy}.")
    note = f"before, difference times {GAIN} around grey, after; longest side at most {ZOOM} px; select one to enlarge"
    return figure(f"gallery-{number}", f'<div class="pairs">{"".join(shown)}</div>', caption=copy, note=note) + "".join(broken)


def picture(looks: Folder, name: str) -> Pixels:
    return decode(looks.read(name), limits=Limits(min_side=1)).rgb


def pair(before: Pixels, after: UInt8[np.ndarray, "h w 3"], *, about: str) -> str:
    if before.shape != after.shape:
        raise ValueError(f"it has {before.shape[1]}x{before.shape[0]} pixels, the protected one {after.shape[1]}x{after.shape[0]}")
    noise = np.clip(128 + GAIN * (after.astype(np.int16) - before), 0, 255).astype(np.uint8)
    three = ((before, "before"), (noise, f"difference times {GAIN}"), (after, "after"))
    shown = "".join(image(pixels, alt=f"{about}, {what}", most=ZOOM) for pixels, what in three)
    return f'<button type="button" class="pair" aria-haspopup="dialog" aria-label="Enlarge {escape(about)}">{shown}</button>'


def image(pixels: Pixels, *, alt: str, most: int) -> str:
    """An `<img>` that carries its own bytes, scaled down to `most` pixels."""
    made = Image.fromarray(pixels)
    made.thumbnail((most, most), Image.Resampling.LANCZOS)
    small = max(made.size) <= EXACT
    out = BytesIO()
    if small:
        made.save(out, format="PNG", optimize=True)
    else:
        made.save(out, format="WEBP", quality=QUALITY, method=4)
    data = base64.b64encode(out.getvalue()).decode()
    kind, width, height = "png" if small else "webp", *made.size
    crisp = ' class="crisp"' if small else ""
    return f'<img{crisp} alt="{escape(alt)}" width="{width}" height="{height}" src="data:image/{kind};base64,{data}">'


def clusters(of: EvaluationFolder) -> str:
    return "".join(cluster(of, number, copy) for number, copy in of.each())


def cluster(of: EvaluationFolder, number: int, copy: str) -> str:
    looks = of.looks(copy)
    if not looks.exists("clusters.json"):
        return missing(
            f"No clusters of {copy}:", "the evaluation did not know them; name the protected copy's private folder to have them."
        )
    told = looks.read_json("clusters.json")
    counts = [int(count) for count in told["sizes"]]
    if not counts:
        return missing(f"No clusters of {copy}:", "clusters.json lists none.")
    bars = sizes(f"sizes-{number}", counts, caption=copy)
    there = set(looks.names())
    named = [(int(digits[-1]), name) for name in told.get("samples", []) if (digits := re.findall(r"\d+", name))]
    names = sorted((at, name) for at, name in named if name in there and at < len(counts))
    shown = []
    for at, name in names[:MOST_SAMPLES]:
        try:
            shown.append(sample(picture(looks, name), at, counts[at]))
        except Rejected as error:
            shown.append(missing(f"{name} is not shown:", str(error)))
    if not shown:
        return bars + missing(f"No samples of {copy}:", "no published image of a cluster was written.")
    note = f"{len(shown)} of {len(counts)} clusters"
    return bars + figure(
        f"samples-{number}",
        f'<div class="samples">{"".join(shown)}</div>',
        caption=f"{copy}: one published image of each cluster",
        note=note,
    )


def sample(pixels: Pixels, at: int, count: int) -> str:
    return f"<div>{image(pixels, alt=f'A published image of cluster {at}', most=SAMPLE)}<span>{at}: {count:,}</span></div>"
