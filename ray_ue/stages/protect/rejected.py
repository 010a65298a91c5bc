"""Images that cannot be used: their table, the list that people read, and the number at which a run stops."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from ray_ue.images.broken import remedy
from ray_ue.progress import counted
from ray_ue.sources.naming import one_line
from ray_ue.storage.artifacts import Folder

Column: TypeAlias = pa.Array | pa.ChunkedArray
SCHEMA = pa.schema([("id", pa.int64()), ("key", pa.string()), ("reason", pa.string())])
FLOOR = 3  # images that never stop a run, unless they are half of it or --max-rejected is 0
SHOWN = 3  # that a message names
LIST = "rejected.txt"


def write_rejected(folder: Folder, part: str, *, ids: np.ndarray, keys: Column | list[str], reasons: list[str]) -> None:
    """The images of a part that cannot be used, and why."""
    folder.write_table(f"rejected/{part}.parquet", pa.table({"id": pa.array(ids, pa.int64()), "key": keys, "reason": reasons}))


def read_rejected(folder: Folder) -> Iterator[pa.Table]:
    """The rejected rows of each finished part that has some."""
    return (folder.read_table(f"rejected/{name}") for name in folder.names("rejected"))


def gather_rejected(folder: Folder) -> dict:
    """Merge the parts' rejected rows into `rejected.parquet`; return their number."""
    table = pa.concat_tables([SCHEMA.empty_table(), *read_rejected(folder)])
    write_list(folder, table)
    return {"rejected": len(table)}


def write_list(folder: Folder, table: pa.Table) -> None:
    """The rejected rows as `rejected.parquet`, and for people as `rejected.txt`: name and reason, a line each."""
    folder.write_table("rejected.parquet", table)
    if len(table):
        folder.write(LIST, "".join(f"{one_line(line['key'])}\t{one_line(line['reason'])}\n" for line in table.to_pylist()).encode())


def remedies(folder: Folder) -> list[str]:
    """What to do about the rejected images of a finished stage."""
    return sorted({remedy(reason) for reason in folder.read_table("rejected.parquet", columns=("reason",))["reason"].to_pylist()})


def allowed(rows: int, most: float) -> float:
    """How many of `rows` images may be unusable: the fraction `most`, but at least a few in any collection, unless `most` is 0."""
    return max(most * rows, min(FLOOR, rows // 2 - 1)) if most else 0


class NoneUsable(ValueError):
    """No image of those that are to join a copy can be used: it stays as it is."""


def refuse_too_many(rejected: int, rows: int, most: float, folder: Folder, *, published: int = 0) -> None:
    """Fail when more rows than `allowed` cannot be used, naming the first of them and what to do.

    `published` images are in the copy already that these rows join: the fraction is of all of them.
    """
    if published and rejected == rows:
        raise NoneUsable(f"none of the new images can be used ({named(folder)}; the copy stays as it is")
    rows += published
    if rejected <= allowed(rows, most) and rejected < rows:
        return
    raise ValueError(
        f"{rejected:,} of {rows:,} images cannot be used, more than --max-rejected {most:g} allows ({named(folder)}; "
        f"--max-rejected {min(1.0, rejected / rows + 0.01):.2f} leaves them out"
        if rejected < rows
        else f"none of {counted(rows, 'image')} can be used ({named(folder)}"
    )


def named(folder: Folder) -> str:
    """The first rejected images with their reasons, what to do, and where all are listed; writes that list."""
    table = pa.concat_tables([SCHEMA.empty_table(), *(part.cast(SCHEMA) for part in read_rejected(folder))])
    write_list(folder, table)
    lines = table.to_pylist()
    first = "; ".join(f"{line['key']}: {line['reason']}" for line in lines[:SHOWN])
    advice = "; ".join(sorted({remedy(line["reason"]) for line in lines}))
    return f"{first}{'; …' if len(lines) > SHOWN else ''}); {advice}; all are listed in {folder.path(LIST)}"
