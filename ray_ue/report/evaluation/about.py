"""What a run was and what it cost: visibility, passes and seconds, recipe, versions, limits. It knows run.json and sums, not accuracy."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ray_ue.report.evaluation.folder import EvaluationFolder
from ray_ue.report.html import cell, escape, facts, figure, fold, heading, missing, row, table

DATA = ("protected", "clean", "noise", "clean-part")


def visibility(of: EvaluationFolder) -> str:
    """Largest change, PSNR and SSIM of each copy."""
    rows, absent = [], []
    for _, copy in of.each():
        about, found = of.about(copy), of.about(copy).get("facts") or {}
        similar = distance(of, copy, absent)
        if not found:
            absent.append(missing(f"Unknown for {copy}:", "its private folder was not at hand, and with it what the export measured."))
            if similar is None:
                continue
        fields = (("images", ",.0f"), ("most_levels", ".0f"), ("psnr_mean", ".2f"), ("ssim_mean", ".4f"))
        cells = [number(found.get(name), form, column=name) for name, form in fields]
        cells.insert(2, number(about.get("levels"), ".0f", column="levels"))
        cells.append(number(similar, ".4f", column="lpips"))
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
    return body + "".join(dict.fromkeys(absent))


def distance(of: EvaluationFolder, copy: str, absent: list[str]) -> float | None:
    """The mean LPIPS of the copy's pairs, or None and a line that says why there is none."""
    looks = of.looks(copy)
    if looks.exists("lpips.json"):
        return float(looks.read_json("lpips.json")["mean"])
    why = looks.read("lpips.txt").decode() if looks.exists("lpips.txt") else "LPIPS is not measured: this copy has no pictures here"
    absent.append(missing("Not here:", why))
    return None


def number(value: float | None, form: str, *, column: str) -> str:
    """A cell with a number, or a dash."""
    if value is None or math.isnan(value):
        return cell("–", column=column)
    return cell("∞" if math.isinf(value) else format(value, form), value=float(value), column=column)


def cost(of: EvaluationFolder) -> str:
    """Image passes and seconds of crafting and of all victims; a control that stands beside several copies counts once."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    seen: set[str] = set()
    for one in of.table.select(["copy", "data", "cell", "images", "seconds"]).to_pylist():
        if not one["cell"] or one["cell"] in seen:  # no cell: its labels could not be made, so it never ran
            continue
        seen.add(one["cell"])
        mixed = one["data"] in ("protected", "clean-part")
        total = sums[one["data"], one["copy"] if mixed else "all copies"]
        for at, value in enumerate((1, one["images"] or 0, one["seconds"] or 0)):
            total[at] += value
    rows = [
        row([heading(f"victims on {data}", small=copy), cell(f"{count:,.0f}"), *spent(images, seconds)], data={"data": data})
        for (data, copy), (count, images, seconds) in sorted(sums.items(), key=lambda found: (DATA.index(found[0][0]), found[0][1]))
    ]
    crafts = [(copy, of.about(copy).get("craft")) for copy in of.names]
    made = [
        row([heading("crafting", small=copy), cell("1"), *spent(*craft_cost(craft))], data={"data": "craft"})
        for copy, craft in crafts
        if craft
    ]
    absent = "".join(
        missing(f"Crafting cost of {copy} unknown:", "its private folder was not at hand.") for copy, craft in crafts if not craft
    )
    body = table(["what", "runs", "image passes", "seconds"], [*made, *rows], label="Cost")
    machine = of.run.get("machine", {})
    told = [(name, f"{value}") for name, value in machine.items()] + [("wall time", clock(of.run.get("seconds")))]
    return (
        figure("cost-table", body, caption="Sums over all runs", note="reused results count with what they once took")
        + absent
        + facts(told)
    )


def craft_cost(craft: Mapping[str, Any]) -> tuple[float, float]:
    return float(craft["images"]), float(craft["seconds"])


def spent(images: float, seconds: float) -> list[str]:
    return [cell(f"{images:,.0f}", value=images, column="images"), cell(f"{seconds:,.0f}", value=seconds, column="seconds")]


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d} h"


def made(of: EvaluationFolder) -> str:
    """Request, copies with recipes and fingerprints, relabels, versions."""
    run = of.run
    parts = [
        fold("What was asked", facts(said({"clean images": run["clean"], "test images": run["test"], **run.get("request", {})})), open=True)
    ]
    parts.append(fold("Chosen by the run", facts(said(run.get("chosen", {}))), open=True))
    for found in run["copies"]:
        recipe = found.get("recipe")
        body = (
            facts([("place", str(found.get("uri", "unknown"))), *said(recipe)])
            if recipe
            else missing("Recipe unknown:", "its private folder was not at hand.")
        )
        prints = (
            facts(said(found["fingerprints"]))
            if found.get("fingerprints")
            else missing("Fingerprints unknown:", "its private folder was not at hand.")
        )
        parts.append(fold(f"Recipe of {found['name']}", body, open=False) + fold(f"Fingerprints of {found['name']}", prints, open=False))
    relabels = [
        row([heading(r["spec"]), cell(str(r["classes"])), cell(f"{100 * r['chance']:.1f}")], data={}) for r in run.get("relabels", [])
    ]
    if relabels:
        parts.append(fold("Labels of the exploiter", table(["relabel", "classes", "chance, %"], relabels, label="Relabels"), open=False))
    parts.append(fold("Versions", facts(said(run.get("versions", {}))), open=False))
    return "".join(parts)


def said(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, plain(value)) for name, value in values.items()]


def plain(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(found)}" for name, found in value.items())
    return ", ".join(map(plain, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def limits(of: EvaluationFolder) -> str:
    told = of.run.get("limits", [])
    return (
        f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in told)}</ul>" if told else missing("No limits:", "the evaluation stated none.")
    )
