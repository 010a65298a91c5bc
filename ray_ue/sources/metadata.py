"""Metadata files that name images, as Hugging Face's `imagefolder` reads them."""

import csv
import io
import json
import posixpath
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_ue.sources.columns import refuse_pickles

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def is_metadata(path: str) -> bool:
    return posixpath.basename(path) in NAMES


def renamed(data: bytes, *, path: str, goals: Mapping[str, str]) -> bytes | None:
    """The file with every image named as in the copy, all else as it was; None if it names none, or is no such file.

    `goals` maps an image's path in the source to its path in the copy, or to nothing where the copy leaves it out: so are the rows that
    name it. The file names images from its own folder.
    """
    folder = posixpath.dirname(path)

    def rename_entry(name: Any) -> Any:
        """The new name, None for an image that is left out; what is no name of an image stays."""
        if isinstance(name, list):
            renamed_entries = [rename_entry(each) for each in name]
            return None if None in renamed_entries and None not in name else renamed_entries
        if not isinstance(name, str) or (goal := goals.get(posixpath.normpath(posixpath.join(folder, name)))) is None:
            return name
        return posixpath.relpath(goal, folder or ".") if goal else None

    try:
        return {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[posixpath.splitext(path)[1]](data, rename_entry, path)
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError, RecursionError, pa.ArrowException):
        return None  # not what its name says: no reader takes names from it


def _names_images(column: object) -> bool:
    return isinstance(column, str) and column.endswith(("file_name", "file_names"))


def _csv(data: bytes, rename_entry: Any, path: str) -> bytes | None:
    text = data.decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    wanted = [i for i, column in enumerate(rows[0] if rows else []) if _names_images(column)]
    if not wanted:
        return None
    end = "\r\n" if "\r\n" in text else "\n"
    new = [rows[0], *([rename_entry(cell) if i in wanted else cell for i, cell in enumerate(row)] for row in rows[1:])]
    csv.writer(out := io.StringIO(newline=""), lineterminator=end).writerows(row for row in new if None not in row)
    return out.getvalue().encode()


def _jsonl(data: bytes, rename_entry: Any, path: str) -> bytes | None:
    lines = data.decode("utf-8-sig").split("\n")
    changed = [_line(line, rename_entry) if line.strip() else line for line in lines]
    return "\n".join(line for line in changed if line is not None).encode() if changed != lines else None


def _line(line: str, rename_entry: Any) -> str | None:
    """A line as it was unless it names an image; None if that is left out."""
    fields = json.loads(line)
    if not isinstance(fields, dict):
        return line
    new = {key: rename_entry(value) if _names_images(key) else value for key, value in fields.items()}
    if any(value is None and fields[key] is not None for key, value in new.items()):
        return None
    return json.dumps(new, ensure_ascii=False) if new != fields else line


def _parquet(data: bytes, rename_entry: Any, path: str) -> bytes | None:
    table = pq.ParquetFile(io.BytesIO(data)).read()
    refuse_pickles(table.schema, path=path)
    wanted = [name for name in table.schema.names if _names_images(name)]
    kept = np.ones(len(table), bool)
    for name in wanted:
        place, field, old = table.schema.get_field_index(name), table.schema.field(name), table[name].to_pylist()
        new = [rename_entry(cell) for cell in old]
        kept &= np.array([was is None or now is not None for was, now in zip(old, new)], bool)
        table = table.set_column(place, field, pa.array(new, field.type))
    pq.write_table(table.filter(pa.array(kept)), out := io.BytesIO())
    return out.getvalue() if wanted else None
