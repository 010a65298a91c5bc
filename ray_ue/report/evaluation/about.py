"""Visibility, cost, provenance and limits of an evaluation."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.html import cell, details_html, escape, facts, figure, heading, notice, row, table

DATA = ("protected", "clean", "noise", "clean-part")


def visibility(evaluation: EvaluationFolder) -> str:
    """Largest change, PSNR and SSIM of each copy."""
    rows, notices = [], []
    for _, copy in evaluation.each():
        description, facts_of_copy = evaluation.about(copy), evaluation.about(copy).get("facts") or {}
        similar = mean_lpips(evaluation, copy, notices)
        if not facts_of_copy:
            notices.append(notice(f"Unknown for {copy}:", "its private folder, which has these measurements, was not found."))
            if similar is None:
                continue
        fields = (("images", ",.0f"), ("most_levels", ".0f"), ("psnr_mean", ".2f"), ("ssim_mean", ".4f"))
        cells = [number_cell(facts_of_copy.get(name), form, column=name) for name, form in fields]
        cells.insert(2, number_cell(description.get("levels"), ".0f", column="levels"))
        cells.append(number_cell(similar, ".4f", column="lpips"))
        rows.append(row([heading(copy), *cells], data={"copy": copy}))
    heads = [
        "copy",
        "images",
        "largest change, of 255",
        "budget, of 255",
        "PSNR, dB (mean)",
        "SSIM (mean)",
        "LPIPS (of the pictures shown)",
    ]
    body = (
        figure("visibility-table", table(heads, rows, label="How visible the change is"), caption="Measured on the exported images")
        if rows
        else ""
    )
    return body + "".join(dict.fromkeys(notices))


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
    counted_cells: set[str] = set()
    for row_values in evaluation.table.select(["copy", "data", "cell", "images", "seconds"]).to_pylist():
        if not row_values["cell"] or row_values["cell"] in counted_cells:  # without a cell it never ran
            continue
        counted_cells.add(row_values["cell"])
        mixed = row_values["data"] in ("protected", "clean-part")
        total = sums[row_values["data"], row_values["copy"] if mixed else "all copies"]
        for index, value in enumerate((1, row_values["images"] or 0, row_values["seconds"] or 0)):
            total[index] += value
    rows = [
        row([heading(f"victims on {data}", small=copy), cell(f"{count:,.0f}"), *cost_cells(images, seconds)], data={"data": data})
        for (data, copy), (count, images, seconds) in sorted(sums.items(), key=lambda entry: (DATA.index(entry[0][0]), entry[0][1]))
    ]
    crafts = [(copy, evaluation.about(copy).get("craft")) for copy in evaluation.names]
    crafting_rows = [
        row([heading("crafting", small=copy), cell("1"), *cost_cells(*craft_cost(craft))], data={"data": "craft"})
        for copy, craft in crafts
        if craft
    ]
    absent = "".join(
        notice(f"Crafting cost of {copy} unknown:", "its private folder was not found.") for copy, craft in crafts if not craft
    )
    body = table(["what", "runs", "image passes", "seconds"], [*crafting_rows, *rows], label="Cost")
    machine = evaluation.run.get("machine", {})
    machine_facts = [(name, f"{value}") for name, value in machine.items()] + [
        ("wall time", format_duration(evaluation.run.get("seconds")))
    ]
    return (
        figure("cost-table", body, caption="Sums over all runs", note="reused results count with their original cost")
        + absent
        + facts(machine_facts)
    )


def craft_cost(craft: Mapping[str, Any]) -> tuple[float, float]:
    return float(craft["images"]), float(craft["seconds"])


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
    parts = [
        details_html(
            "Request",
            facts(format_pairs({"clean images": run["clean"], "test images": run["test"], **run.get("request", {})})),
            open=True,
        )
    ]
    parts.append(details_html("Chosen automatically", facts(format_pairs(run.get("chosen", {}))), open=True))
    for copy in run["copies"]:
        recipe = copy.get("recipe")
        body = (
            facts([("place", str(copy.get("uri", "unknown"))), *format_pairs(recipe)])
            if recipe
            else notice("Recipe unknown:", "its private folder was not found.")
        )
        prints = (
            facts(format_pairs(copy["fingerprints"]))
            if copy.get("fingerprints")
            else notice("Fingerprints unknown:", "its private folder was not found.")
        )
        parts.append(
            details_html(f"Recipe of {copy['name']}", body, open=False)
            + details_html(f"Fingerprints of {copy['name']}", prints, open=False)
        )
    relabels = [
        row([heading(r["spec"]), cell(str(r["classes"])), cell(f"{100 * r['chance']:.1f}")], data={}) for r in run.get("relabels", [])
    ]
    if relabels:
        parts.append(
            details_html("Labels of the exploiter", table(["relabel", "classes", "chance, %"], relabels, label="Relabels"), open=False)
        )
    parts.append(details_html("Versions", facts(format_pairs(run.get("versions", {}))), open=False))
    return "".join(parts)


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
