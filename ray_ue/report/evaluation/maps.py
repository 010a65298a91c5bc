"""Charts of cluster sizes, and of features before and after protection."""

import zipfile
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.evaluation.geometry import Geometry, measure_geometry, project_to_plane
from ray_ue.report.html import facts, figure, notice
from ray_ue.report.svg import COLORS, SLOTS, draw_svg

MOST_POINTS = 700  # per panel
FEATURES = ("clean", "protected", "slot", "label")


def size_chart(name: str, counts: list[int], *, caption: str) -> str:
    """A bar per cluster."""

    def draw(axes: list[Axes]) -> None:
        wide = 0.82 if len(counts) < 80 else 1.0
        axes[0].bar(range(len(counts)), counts, width=wide, color=COLORS["clean"], linewidth=0)
        axes[0].set(xlabel="cluster", ylabel="images", xlim=(-0.6, len(counts) - 0.4))
        axes[0].grid(visible=False, axis="x")
        axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))

    label = f"Sizes of {len(counts)} clusters: from {min(counts):,} to {max(counts):,} images"
    return figure(name, draw_svg(draw, name=name, label=label, size=(5.2, 2.2), columns=1), caption=caption, note=label)


def maps(evaluation: EvaluationFolder) -> str:
    return "".join(feature_map(evaluation, number, copy) for number, copy in evaluation.each())


def feature_map(evaluation: EvaluationFolder, number: int, copy: str) -> str:
    """Two panels and four numbers, or a notice that says why there are none."""
    looks = evaluation.looks(copy)
    if not looks.exists("features.npz"):
        why = looks.read("features.txt").decode(errors="replace").strip() if looks.exists("features.txt") else "the evaluation wrote none."
        return notice(f"No map of {copy}:", why)
    try:
        with np.load(BytesIO(looks.read("features.npz")), allow_pickle=False) as stored:
            clean, protected, slot, _ = (stored[name] for name in FEATURES)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        return notice(f"No map of {copy}:", f"features.npz cannot be read ({error}); run the evaluation again.")
    if len(clean) < 3 or clean.shape != protected.shape:
        return notice(f"No map of {copy}:", f"features.npz holds {clean.shape} clean and {protected.shape} protected values.")
    clean, protected = clean.astype(np.float32), protected.astype(np.float32)
    return feature_drawing(f"map-{number}", clean, protected, slot, copy) + geometry_facts(measure_geometry(clean, protected), len(clean))


def feature_drawing(name: str, clean: np.ndarray, protected: np.ndarray, slot: np.ndarray, copy: str) -> str:
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
    return figure(name, draw_svg(draw, name=name, label=label, size=(6.4, 3.1), columns=2), caption=copy, note=note, kind="map")


def geometry_facts(values: Geometry, rows: int) -> str:
    return facts(
        [
            ("uniformity, clean", f"{values.clean_uniformity:.3f}"),
            ("uniformity, protected", f"{values.protected_uniformity:.3f} (Wang & Isola 2020, t = 2)"),
            ("discrepancy", f"{values.moved:.3f} between a row's clean and protected feature of length 1, mean of {rows} rows"),
            ("relative discrepancy", f"{values.relative:.2f} of the mean distance between two clean rows"),
        ]
    )
