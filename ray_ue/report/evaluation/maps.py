"""Charts of cluster sizes, and of features before and after protection."""

import zipfile
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.geometry import measure_geometry, project_to_plane
from ray_ue.report.svg import COLORS, SLOTS, Chart

MOST_POINTS = 700  # per panel
FEATURES = ("clean", "protected", "slot", "label")


def size_chart(name: str, counts: list[int], *, caption: str) -> Chart:
    """A bar per cluster."""

    def draw(axes: list[Axes]) -> None:
        wide = 0.82 if len(counts) < 80 else 1.0
        axes[0].bar(range(len(counts)), counts, width=wide, color=COLORS["clean"], linewidth=0)
        axes[0].set(xlabel="cluster", ylabel="images", xlim=(-0.6, len(counts) - 0.4))
        axes[0].grid(visible=False, axis="x")
        axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))

    label = f"Sizes of {len(counts)} clusters: from {min(counts):,} to {max(counts):,} images"
    return Chart(name=name, caption=caption, note=label).drawn(draw, label=label, size=(5.2, 2.2))


def maps(evaluation: EvaluationFolder) -> dict[str, dict[str, Any]]:
    return {copy: feature_map(evaluation, number, copy) for number, copy in evaluation.each()}


def feature_map(evaluation: EvaluationFolder, number: int, copy: str) -> dict[str, Any]:
    """A chart of two panels and the geometry, or `missing`, which says why there are none."""
    looks = evaluation.looks(copy)
    if not looks.exists("features.npz"):
        why = looks.read("features.txt").decode(errors="replace").strip() if looks.exists("features.txt") else "the evaluation wrote none."
        return {"chart": None, "missing": why}
    try:
        with np.load(BytesIO(looks.read("features.npz")), allow_pickle=False) as stored:
            clean, protected, slot, _ = (stored[name] for name in FEATURES)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        return {"chart": None, "missing": f"features.npz cannot be read ({error}); run the evaluation again."}
    if len(clean) < 3 or clean.shape != protected.shape:
        return {"chart": None, "missing": f"features.npz holds {clean.shape} clean and {protected.shape} protected values."}
    clean, protected = clean.astype(np.float32), protected.astype(np.float32)
    chart = feature_drawing(f"map-{number}", clean, protected, slot, copy)
    return {"chart": chart, "geometry": measure_geometry(clean, protected), "count": len(clean)}


def feature_drawing(name: str, clean: np.ndarray, protected: np.ndarray, slot: np.ndarray, copy: str) -> Chart:
    before, after, share = project_to_plane(clean, protected)
    rows = np.unique(np.linspace(0, len(before) - 1, MOST_POINTS).astype(int))

    def draw(axes: list[Axes]) -> None:
        for panel, points, title in zip(axes, (before, after), ("clean", "protected"), strict=True):
            for hue in range(len(SLOTS)):
                chosen = rows[slot[rows] % len(SLOTS) == hue]
                panel.plot(points[chosen, 0], points[chosen, 1], "o", color=SLOTS[hue], markersize=3, alpha=0.75, markeredgewidth=0)
            panel.set_title(title, fontsize=9)
            panel.set(xlabel="first axis")
        axes[0].set(ylabel="second axis")

    label = f"Features of {copy} on the two principal axes of the clean ones, clean and protected side by side, coloured by cluster"
    note = f"principal axes of the clean features, {100 * share:.0f} % of their variance; {len(rows)} of {len(before)} rows"
    note += ", coloured by cluster; hues repeat after ten" if slot.max() >= len(SLOTS) else ", coloured by cluster"
    return Chart(name=name, caption=copy, note=note, kind="map").drawn(draw, label=label, size=(6.4, 3.1), columns=2)
