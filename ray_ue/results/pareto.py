"""A sweep's trials: one row per setting, which of them nothing else beats, and the table that says so. It knows rows, not how they came.

Shares are from 0 to 1; a row is a mapping with the fields of SCHEMA.
"""

import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ray_ue.storage.artifacts import Folder

Row = Mapping[str, Any]
TABLE = "sweep.parquet"
WIDTH = 120  # characters of the table, so that it fits a terminal
NARROW = 5  # characters that a text keeps when its column must shrink
SCHEMA = pa.schema(
    [
        ("name", pa.string()),  # of the trial, and of its copy
        ("status", pa.string()),  # done, stopped or failed
        ("reason", pa.string()),  # why it was stopped or failed; empty when done
        ("point", pa.string()),  # JSON: the value of each axis
        (
            "kept",
            pa.float64(),
        ),  # worst case: share of what clean images teach above chance that the protected victim has; lower protects more
        ("accuracy", pa.float64()),  # of the worst case on clean test rows, mean over seeds
        ("spread", pa.float64()),  # its sample standard deviation
        ("n", pa.int64()),  # seeds
        ("victim", pa.string()),  # of the worst case, as are the next two
        ("relabel", pa.string()),
        ("defense", pa.string()),
        ("levels", pa.int64()),  # budget, in steps of 255
        ("most", pa.int64()),  # largest change on the exported bytes
        ("psnr", pa.float64()),  # dB
        ("ssim", pa.float64()),
        ("passes", pa.int64()),  # image passes of crafting
        ("seconds", pa.float64()),  # of crafting and evaluation
        ("images", pa.int64()),  # in the copy
        ("fingerprint", pa.string()),  # of the crafted perturbation
    ]
)


def read(run: Folder) -> pa.Table:
    """The trials in a sweep's folder, in SCHEMA."""
    found = run.read_table(TABLE)
    if gone := sorted(set(SCHEMA.names) - set(found.column_names)):
        raise ValueError(f"{run.uri}/{TABLE} lacks the columns {', '.join(gone)}; it was not written by this version of ray-ue sweep")
    return found.select(SCHEMA.names).cast(SCHEMA)


def write(run: Folder, rows: Iterable[Row]) -> pa.Table:
    """Write `rows` as the sweep's table; a field of SCHEMA that a row lacks becomes null."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
    run.write_table(TABLE, table)
    return table


def known(value: float | None) -> float:
    """Nan where nothing is known."""
    return math.nan if value is None else float(value)


def point(row: Row) -> dict[str, Any]:
    """The value of each axis."""
    return json.loads(row["point"] or "{}")


def label(row: Row) -> str:
    """`clusters 5, budget 8`."""
    return ", ".join(f"{axis} {value}" for axis, value in point(row).items()) or row["name"]


def merits(row: Row) -> tuple[float, ...]:
    """What is compared, the lower the better. Two decimals of SSIM: nobody sees less. An unknown SSIM is the worst, and equals its like."""
    ssim = known(row["ssim"])
    return known(row["kept"]), known(row["levels"]), known(row["passes"]), math.inf if math.isnan(ssim) else -round(ssim, 2)


def comparable(row: Row) -> bool:
    return row["status"] == "done" and not any(map(math.isnan, merits(row)))


def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """At least as good everywhere, and better somewhere."""
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def front(rows: Iterable[Row]) -> tuple[str, ...]:
    """Names of the finished trials that no other beats in protection, budget, crafting cost and visibility together; by `kept`."""
    found = [(merits(row), row["name"]) for row in rows if comparable(row)]
    return tuple(name for mine, name in sorted(found) if not any(beats(other, mine) for other, _ in found))


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Finished trials, those that protect most first; what cannot be compared comes last."""
    return sorted((row for row in rows if row["status"] == "done"), key=lambda row: (not comparable(row), *_placed(row)))


def _placed(row: Row) -> tuple[float | str, ...]:
    return *(math.inf if math.isnan(value) else value for value in merits(row)), row["name"]


def unfinished(rows: Iterable[Row]) -> list[Row]:
    """Stopped trials, then failed ones, by name."""
    return sorted((row for row in rows if row["status"] != "done"), key=lambda row: (row["status"] != "stopped", row["name"]))


def table(rows: Iterable[Row]) -> str:
    """Markdown of at most WIDTH columns: finished trials, best first, `*` before those on the front; then the others with their reasons."""
    found = list(rows)
    best = front(found)
    axes = list(dict.fromkeys(axis for row in found for axis in point(row)))
    head = ["", *axes, "kept, %", "accuracy, %", "worst case", "levels", "SSIM", "passes", "minutes"]
    lines = [_entries(row, axes, mark="*" if row["name"] in best else "") for row in ranked(found)]
    text = _grid([head, *lines], shrinking=[*range(1, len(axes) + 1), head.index("worst case")]) if lines else ["No trial finished."]
    for row in unfinished(found):
        said = f"- {row['status']}: {plain(label(row))}: {plain(row['reason'] or 'no reason was given')}"
        text += ["", *textwrap.wrap(said, WIDTH, subsequent_indent="  ", break_on_hyphens=False)]
    return "\n".join(text)


def _entries(row: Row, axes: Sequence[str], *, mark: str) -> list[str]:
    values, place = point(row), [row[name] for name in ("victim", "relabel", "defense") if row[name]]
    return [
        mark,
        *(str(values.get(axis, "")) for axis in axes),
        percent(row["kept"]),
        accuracy(row),
        ", ".join(place) or "–",
        number(row["levels"], ".0f"),
        number(row["ssim"], ".2f"),
        number(row["passes"], ",.0f"),
        number(None if row["seconds"] is None else row["seconds"] / 60, ",.1f"),
    ]


def accuracy(row: Row) -> str:
    """`61.3 ± 0.8 (3)`, in percent."""
    if math.isnan(known(row["accuracy"])):
        return "–"
    spread = "" if math.isnan(known(row["spread"])) else f" ± {percent(row['spread'])}"
    return f"{percent(row['accuracy'])}{spread} ({row['n'] or 1})"


def percent(share: float | None) -> str:
    return number(None if share is None else 100 * share, ".1f")


def number(value: float | None, form: str) -> str:
    """A dash where nothing is known."""
    return "–" if math.isnan(known(value)) else format(value, form)


def plain(text: str) -> str:
    """One line that cannot end a table cell or open a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _grid(rows: list[list[str]], *, shrinking: list[int]) -> list[str]:
    """Padded columns; those `shrinking` lose their ends, the widest first, until all fit."""
    widths = [max(len(plain(row[at])) for row in rows) for at in range(len(rows[0]))]
    while sum(widths) + 3 * len(widths) + 1 > WIDTH:
        widest = max(shrinking, key=lambda at: widths[at])
        if widths[widest] <= NARROW:
            break
        widths[widest] -= 1
    drawn = ["| " + " | ".join(_fitted(entry, width) for entry, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return [drawn[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *drawn[1:]]


def _fitted(text: str, width: int) -> str:
    """`text` in exactly `width` characters; a cut one ends in `…`, and nothing is cut inside an escape."""
    raw = text
    while len(plain(raw)) + (raw != text) > width:
        raw = raw[:-1]
    return (plain(raw) + ("…" if raw != text else "")).ljust(width)
