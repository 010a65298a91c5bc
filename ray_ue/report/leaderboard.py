"""The page and the Markdown of a leaderboard: one table per data set."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ray_ue.report.html import render
from ray_ue.results.leaderboard import LEADERBOARD
from ray_ue.results.text import escape_markdown, format_number, format_percent, markdown_table
from ray_ue.storage.artifacts import Folder

PAGE, TEXT = "leaderboard.html", "leaderboard.md"
RESULT_SEEDS = 5  # fewer are marked
HEAD = (
    "copy",
    "everyday, % kept",
    "set by",
    "determined, % kept",
    "set by",
    "random pattern, % kept",
    "noise, % kept",
    "clean, %",
    "method",
    "labels",
    "budget",
    "PSNR, dB",
    "seeds",
)
LEAD = (
    "Kept is the share of what clean images teach above chance, in the worst case over victims, labels and treatments: lower is stronger. "
    "Everyday treatments are aimed at no protection, determined ones are. A worst case is set by a victim, its labels and a treatment; "
    "the controls stand at the everyday one. "
    "Of a copy on which fewer victims and treatments were tried, the worst case is found less surely: compare lines that tried the same."
)


def write_leaderboard(board: Folder) -> None:
    """Write `leaderboard.html` and `leaderboard.md` beside `leaderboard.parquet`."""
    tracks = group(LEADERBOARD.read(board).to_pylist())
    board.write(TEXT, markdown(tracks).encode())
    board.write(
        PAGE, render("leaderboard.html", title="Leaderboard", summary=summarise(tracks), tracks=tracks, head=HEAD, lead=LEAD).encode()
    )


def group(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The data sets with their lines as texts, in the order of the table."""
    tracks = []
    for name, found in groupby(lines, key=lambda line: line["data_set"]):
        own = list(found)
        first = own[0]
        note = f"Victims see {first['image_size']} pixels; up to {max(line['train_rows'] or 0 for line in own):,} training images"
        tracks.append({"name": name, "note": note, "rows": [texts(line) for line in own], "tried": tried(own)})
    return tracks


def tried(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which victims and treatments were tried, and on which copies where that differs."""
    copies: dict[str, list[str]] = {}
    for line in lines:
        told = f"victims {', '.join(line['victims'].split(','))}; treatments {', '.join(line['defenses'].split(','))}"
        copies.setdefault(told, []).append(line["copy"])
    if len(copies) == 1:
        return [f"Tried on every copy: {told}." for told in copies]
    return [f"Tried on {', '.join(names)}: {told}." for told, names in copies.items()]


def set_by(place: str) -> str:
    """`fast, identity, jitter` of `victim fast, relabel identity, defense jitter`."""
    return re.sub(r"\b(victim|relabel|defense) ", "", place)


def texts(line: Mapping[str, Any]) -> list[str]:
    """A line in the columns of `HEAD`."""
    seeds = f"{line['seeds']}" + (" (few)" if line["seeds"] < RESULT_SEEDS else "")
    return [
        line["copy"],
        share(line["everyday"], line["everyday_spread"]),
        set_by(line["everyday_place"]),
        share(line["determined"], line["determined_spread"]) if line["determined"] is not None else "not tried",
        set_by(line["determined_place"]) or "–",
        format_percent(line["pattern_kept"]),
        format_percent(line["noise_kept"]),
        format_percent(line["clean"]),
        line["method"] or "unknown",
        {"kmeans": "none", "label": "used"}.get(line["groups"], "–"),
        f"{line['levels']}/255" if line["levels"] else "–",
        format_number(line["psnr"], ".1f"),
        seeds,
    ]


def share(mean: float, spread: float | None) -> str:
    known = spread is not None and not math.isnan(spread)
    return format_percent(mean) + (f" ± {format_percent(spread)}" if known else "")


def summarise(tracks: Sequence[Mapping[str, Any]]) -> str:
    counted = sum(len(track["rows"]) for track in tracks)
    return f"{counted} cop{'ies' if counted != 1 else 'y'} of {len(tracks)} data set{'s' if len(tracks) != 1 else ''}"


def markdown(tracks: Sequence[Mapping[str, Any]]) -> str:
    text = ["# Leaderboard", "", LEAD, ""]
    for track in tracks:
        text += [f"## {escape_markdown(track['name'])}", "", f"{track['note']}.", "", *markdown_table([HEAD, *track["rows"]]), ""]
        text += [line for told in track["tried"] for line in (escape_markdown(told), "")]
    return "\n".join(text)
