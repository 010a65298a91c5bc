"""Visibility, cost, provenance and limits of an evaluation."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.html import cell, details_html, escape, facts, figure, heading, notice, row, table

DATA = ("protected", "clean", "noise", "clean-part")


HEADS = ("copy", "images", "largest change, of 255", "budget, of 255", "PSNR, dB (mean)", "SSIM (mean)", "LPIPS (of the pictures shown)")


def visibility(evaluation: EvaluationFolder) -> str:
    """Largest change, PSNR and SSIM of each copy."""
    rows, notices = [], []
    for copy in evaluation.names:
        description = evaluation.about(copy)
        measured, lpips = description.get("facts") or {}, mean_lpips(evaluation, copy, notices)
        if not measured:
            notices.append(notice(f"Unknown for {copy}:", "its private folder, which has these measurements, was not found."))
        if measured or lpips is not None:
            values = measured | {"levels": description.get("levels"), "lpips": lpips}
            cells = [number_cell(values.get(name), form, column=name) for name, form in VISIBILITY]
            rows.append(row([heading(copy), *cells], data={"copy": copy}))
    body = table(HEADS, rows, label="How visible the change is")
    drawn = figure("visibility-table", body, caption="Measured on the exported images") if rows else ""
    return drawn + "".join(dict.fromkeys(notices))


VISIBILITY = (("images", ",.0f"), ("most_levels", ".0f"), ("levels", ".0f"), ("psnr_mean", ".2f"), ("ssim_mean", ".4f"), ("lpips", ".4f"))


def mean_lpips(evaluation: EvaluationFolder, copy: str, notices: list[str]) -> float | None:
    """The mean LPIPS of the copy's pairs; None, and a notice with the reason, without one."""
    figures = evaluation.looks(copy)
    if figures.exists("lpips.json"):
        return float(figures.read_json("lpips.json")["mean"])
    why = figures.read("lpips.txt").decode() if figures.exists("lpips.txt") else "LPIPS is not measured: this copy has no pictures"
    notices.append(notice("No LPIPS:", why))
    return None


def number_cell(value: float | None, form: str, *, column: str) -> str:
    """A cell with a number, or a dash."""
    if value is None or math.isnan(value):
        return cell("–", column=column)
    return cell("∞" if math.isinf(value) else format(value, form), value=float(value), column=column)


def cost(evaluation: EvaluationFolder) -> str:
    """Image passes and seconds of crafting and of all victims; a control that several copies share counts once."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    cells = {victim["cell"]: victim for victim in reversed(evaluation.table.select(COST_FIELDS).to_pylist()) if victim["cell"]}
    for victim in cells.values():  # without a cell it never ran
        total = sums[victim["data"], victim["copy"] if victim["data"] in ("protected", "clean-part") else "all copies"]
        total[:] = total[0] + 1, total[1] + (victim["images"] or 0), total[2] + (victim["seconds"] or 0)
    crafts = {copy: evaluation.about(copy).get("craft") for copy in evaluation.names}
    rows = []
    for copy, craft in crafts.items():
        if craft:
            cells_of_row = [heading("crafting", small=copy), cell("1"), *cost_cells(float(craft["images"]), float(craft["seconds"]))]
            rows.append(row(cells_of_row, data={"data": "craft"}))
    for (data, copy), (count, images, seconds) in sorted(sums.items(), key=lambda entry: (DATA.index(entry[0][0]), entry[0][1])):
        cells_of_row = [heading(f"victims on {data}", small=copy), cell(f"{count:,.0f}"), *cost_cells(images, seconds)]
        rows.append(row(cells_of_row, data={"data": data}))
    body = figure(
        "cost-table",
        table(["what", "runs", "image passes", "seconds"], rows, label="Cost"),
        caption="Sums over all runs",
        note="reused results count with their original cost",
    )
    unknown = [copy for copy, craft in crafts.items() if not craft]
    body += "".join(notice(f"Crafting cost of {copy} unknown:", "its private folder was not found.") for copy in unknown)
    machine = [(name, f"{value}") for name, value in evaluation.run.get("machine", {}).items()]
    return body + facts([*machine, ("wall time", format_duration(evaluation.run.get("seconds")))])


COST_FIELDS = ["copy", "data", "cell", "images", "seconds"]


def cost_cells(images: float, seconds: float) -> list[str]:
    return [cell(f"{images:,.0f}", value=images, column="images"), cell(f"{seconds:,.0f}", value=seconds, column="seconds")]


def format_duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d} h"


def provenance(evaluation: EvaluationFolder) -> str:
    """The request, recipes and fingerprints of the copies, relabels, versions."""
    run = evaluation.run
    request = {"clean images": run["clean"], "test images": run["test"], **run.get("request", {})}
    parts = [collapsible("Request", request, open=True), collapsible("Chosen automatically", run.get("chosen", {}), open=True)]
    for copy in run["copies"]:
        recipe, fingerprints = copy.get("recipe"), copy.get("fingerprints")
        parts.append(collapsible(f"Recipe of {copy['name']}", {"place": copy.get("uri", "unknown"), **recipe} if recipe else None))
        parts.append(collapsible(f"Fingerprints of {copy['name']}", fingerprints or None))
    if relabels := run.get("relabels"):
        rows = [
            row([heading(label["spec"]), cell(str(label["classes"])), cell(f"{100 * label['chance']:.1f}")], data={}) for label in relabels
        ]
        body = table(["relabel", "classes", "chance, %"], rows, label="Relabels")
        parts.append(details_html("Labels of the exploiter", body, open=False))
    return "".join([*parts, collapsible("Versions", run.get("versions", {}))])


def collapsible(title: str, values: Mapping[str, Any] | None, *, open: bool = False) -> str:
    """Names and values that can be collapsed; a notice in place of None."""
    body = notice(f"{title} unknown:", "the copy's private folder was not found.") if values is None else facts(format_pairs(values))
    return details_html(title, body, open=open)


def format_pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, format_value(value)) for name, value in values.items()]


def format_value(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(entry)}" for name, entry in value.items())
    return ", ".join(map(format_value, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def limits(request: Mapping[str, Any]) -> str:
    """The limits that an evaluation or a sweep states."""
    items = "".join(f"<li>{escape(text)}</li>" for text in request.get("limits", []))
    return f"<ul>{items}</ul>" if items else notice("No limits:", "none were stated.")
