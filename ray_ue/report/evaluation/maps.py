"""Figures of the clusters: their sizes, and the features before and after. It knows the looks folder, not victims."""

import zipfile
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.geometry import Geometry, measure, plane
from ray_ue.report.html import facts, figure, missing
from ray_ue.report.svg import COLORS, SLOTS, svg

MOST_POINTS = 700  # per panel: a page is no database
FEATURES = ("clean", "protected", "slot", "label")


def sizes(name: str, counts: list[int], *, caption: str) -> str:
    """A bar per cluster."""

    def draw(axes: list[Axes]) -> None:
        wide = 0.82 if len(counts) < 80 else 1.0
        axes[0].bar(range(len(counts)), counts, width=wide, color=COLORS["clean"], linewidth=0)
        axes[0].set(xlabel="cluster", ylabel="images", xlim=(-0.6, len(counts) - 0.4))
        axes[0].grid(visible=False, axis="x")
        axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))

    label = f"Sizes of {len(counts)} clusters: from {min(counts):,} to {max(counts):,} images"
    return figure(name, svg(draw, name=name, label=label, size=(5.2, 2.2), columns=1), caption=caption, note=label)


def maps(of: EvaluationFolder) -> str:
    return "".join(feature_map(of, number, copy) for number, copy in of.each())


def feature_map(of: EvaluationFolder, number: int, copy: str) -> str:
    """Two panels and four numbers, or one line that says why not."""
    looks = of.looks(copy)
    if not looks.exists("features.npz"):
        why = looks.read("features.txt").decode(errors="replace").strip() if looks.exists("features.txt") else "the evaluation wrote none."
        return missing(f"No map of {copy}:", why)
    try:
        with np.load(BytesIO(looks.read("features.npz")), allow_pickle=False) as stored:
            clean, protected, slot, _ = (stored[name] for name in FEATURES)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        return missing(f"No map of {copy}:", f"features.npz cannot be read ({error}); run the evaluation again.")
    if len(clean) < 3 or clean.shape != protected.shape:
        return missing(f"No map of {copy}:", f"features.npz holds {clean.shape} clean and {protected.shape} protected values.")
    clean, protected = clean.astype(np.float32), protected.astype(np.float32)
    return drawing(f"map-{number}", clean, protected, slot, copy) + geometry(measure(clean, protected), len(clean))


def drawing(name: str, clean: np.ndarray, protected: np.ndarray, slot: np.ndarray, copy: str) -> str:
    before, after, share = plane(clean, protected)
    shown = np.unique(np.linspace(0, len(before) - 1, MOST_POINTS).astype(int))

    def draw(axes: list[Axes]) -> None:
        for panel, points, title in zip(axes, (before, after), ("clean", "protected"), strict=True):
            for hue in range(len(SLOTS)):
                mine = shown[slot[shown] % len(SLOTS) == hue]
                panel.plot(points[mine, 0], points[mine, 1], "o", color=SLOTS[hue], markersize=3, alpha=0.75, markeredgewidth=0)
            panel.set_title(title, fontsize=9)
            panel.set(xlabel="first axis")
        axes[0].set(ylabel="second axis")

    label = f"Features of {copy} on the two principal axes of the clean ones, clean and protected side by side, coloured by cluster"
    note = f"principal axes of the clean features, {100 * share:.0f} % of their variance; {len(shown)} of {len(before)} rows"
    note += ", coloured by cluster; hues repeat after ten" if slot.max() >= len(SLOTS) else ", coloured by cluster"
    return figure(name, svg(draw, name=name, label=label, size=(6.4, 3.1), columns=2), caption=copy, note=note, kind="map")


def geometry(found: Geometry, rows: int) -> str:
    return facts(
        [
            ("uniformity, clean", f"{found.clean_uniformity:.3f}"),
            ("uniformity, protected", f"{found.protected_uniformity:.3f} (Wang & Isola 2020, t = 2)"),
            ("discrepancy", f"{found.moved:.3f} between a row's clean and protected feature of length 1, mean of {rows} rows"),
            ("relative discrepancy", f"{found.relative:.2f} of the mean distance between two clean rows"),
        ]
    )
