"""Visibility, cost and provenance of an evaluation."""

from collections import defaultdict
from typing import Any

from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.results.evaluation import mean_lpips

DATA = ("protected", "clean", "noise", "pattern", "clean-part")


def visibility(evaluation: EvaluationFolder) -> dict[str, Any]:
    """Largest change, PSNR, SSIM and LPIPS of each copy, and why some are missing."""
    rows, missing = [], []
    for copy in evaluation.names:
        description = evaluation.about(copy)
        measured, lpips = description.get("facts") or {}, mean_lpips(evaluation.folder, copy)
        if lpips is None:
            missing.append(("No LPIPS:", why_no_lpips(evaluation, copy)))
        if not measured:
            missing.append((f"Unknown for {copy}:", "its private folder, which has these measurements, was not found."))
        if measured or lpips is not None or detected(evaluation, copy):
            known_lpips = {} if lpips is None else {"lpips": lpips}
            rows.append((copy, measured | {"levels": description.get("levels")} | known_lpips | detected(evaluation, copy)))
    return {"rows": rows, "missing": list(dict.fromkeys(missing))}


def detected(evaluation: EvaluationFolder, copy: str) -> dict[str, float]:
    """How well a small network told protected images from clean ones; empty where that was not measured."""
    looks = evaluation.looks(copy)
    return {"detected": float(looks.read_json("detection.json")["share"])} if looks.exists("detection.json") else {}


def why_no_lpips(evaluation: EvaluationFolder, copy: str) -> str:
    figures = evaluation.looks(copy)
    return figures.read("lpips.txt").decode() if figures.exists("lpips.txt") else "LPIPS is not measured: this copy has no pictures"


def cost(evaluation: EvaluationFolder) -> dict[str, Any]:
    """Image passes and seconds of crafting and of all victims; a control that several copies share counts once."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    cells = {victim["cell"]: victim for victim in reversed(evaluation.table.select(COST_FIELDS).to_pylist()) if victim["cell"]}
    for victim in cells.values():  # without a cell it never ran
        total = sums[victim["data"], victim["copy"] if victim["data"] in ("protected", "clean-part") else "all copies"]
        total[:] = total[0] + 1, total[1] + (victim["images"] or 0), total[2] + (victim["seconds"] or 0)
    crafts = {copy: evaluation.about(copy).get("craft") for copy in evaluation.names}
    return {
        "crafts": {copy: craft for copy, craft in crafts.items() if craft},
        "victims": [(*place, *sums[place]) for place in sorted(sums, key=lambda place: (DATA.index(place[0]), place[1]))],
        "unknown": [copy for copy, craft in crafts.items() if not craft],
        "facts": {**evaluation.run.get("machine", {}), "wall time": format_duration(evaluation.run.get("seconds"))},
    }


COST_FIELDS = ["copy", "data", "cell", "images", "seconds"]


def format_duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d} h"


def provenance(evaluation: EvaluationFolder) -> dict[str, Any]:
    """The request, recipes and fingerprints of the copies, relabels, versions."""
    run = evaluation.run
    parts = {
        "request": {"clean images": run["clean"], "test images": run["test"], **run.get("request", {})},
        "chosen": run.get("chosen", {}),
        "relabels": run.get("relabels", []),
        "versions": run.get("versions", {}),
        "copies": {},
    }
    for copy in run["copies"]:
        recipe = copy.get("recipe")
        parts["copies"][f"Recipe of {copy['name']}"] = {"place": copy.get("uri", "unknown"), **recipe} if recipe else None
        parts["copies"][f"Fingerprints of {copy['name']}"] = copy.get("fingerprints") or None
    return parts
