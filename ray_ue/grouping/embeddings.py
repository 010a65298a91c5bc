"""Embeddings that clip-retrieval has written: their parts, their content's identity, and which of them belongs to which image.

A folder holds `img_emb/img_emb_N.npy` (float16 or float32, one row an image) and `metadata/metadata_N.parquet` (`image_path`, or `key`).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64

from ray_ue.sources.columns import refuse_pickles
from ray_ue.sources.members import sample_of
from ray_ue.sources.naming import parents, printable
from ray_ue.storage.addresses import local_path
from ray_ue.storage.hashing import sha256_of_file

VECTORS, METADATA = re.compile(r"^img_emb_(\d+)\.npy$"), re.compile(r"^metadata_(\d+)\.parquet$")
COLUMNS = ("image_path", "key")
LAYOUT = "a clip-retrieval folder holds img_emb/img_emb_0.npy and metadata/metadata_0.parquet, and further parts with the same numbers"


@dataclass(frozen=True, kw_only=True)
class EmbeddingPart:
    """`rows` vectors in `vectors` and their names in column `column` of `metadata`."""

    vectors: Path
    metadata: Path
    column: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class GivenEmbeddings:
    """All parts of a folder, in the order of their numbers; every vector has `width` numbers."""

    folder: str
    parts: tuple[EmbeddingPart, ...]
    width: int

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def names(self) -> list[str]:
        """What the metadata calls each row's image."""
        tables = ((pq.ParquetFile(part.metadata).read(columns=[part.column]), part) for part in self.parts)
        return [printable(str(name)) for table, part in tables for name in table[part.column].to_pylist()]

    def identity(self) -> str:
        """Moves with the content of vectors and metadata, never with where they lie."""
        total = hashlib.sha256()
        for part in self.parts:
            for file in (part.vectors, part.metadata):
                total.update(sha256_of_file(file).encode())
        return f"sha256:{total.hexdigest()}"

    def vectors(self, rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n D"]:
        """The vectors of some rows, in their order; of each part only what is asked for is read."""
        vectors = np.empty((len(rows), self.width), np.float32)
        edges = np.cumsum([0, *(part.rows for part in self.parts)])
        for number, part in enumerate(self.parts):
            inside = np.flatnonzero((rows >= edges[number]) & (rows < edges[number + 1]))
            if len(inside):
                vectors[inside] = _memory_map(part.vectors)[rows[inside] - edges[number]]
        return vectors


def open_given(folder: str) -> GivenEmbeddings:
    """The embeddings in a local folder; a `ValueError` says what is not as clip-retrieval writes it."""
    if "://" in folder:
        raise ValueError(
            f"--embeddings {folder}: embeddings are memory-mapped, so they must lie in a folder of this machine; copy them there"
        )
    root = local_path(folder)
    vectors, metadata = _files_by_number(root / "img_emb", VECTORS), _files_by_number(root / "metadata", METADATA)
    if not vectors:
        raise ValueError(f"--embeddings {root} holds no embeddings: {LAYOUT}")
    if alone := sorted(vectors.keys() ^ metadata.keys()):
        raise ValueError(f"--embeddings {root}: part {alone[0]} has {'no metadata' if alone[0] in vectors else 'no vectors'}; {LAYOUT}")
    parts = tuple(_open_part(vectors[number], metadata[number]) for number in sorted(vectors))
    widths = {_memory_map(part.vectors).shape[1]: part.vectors.name for part in parts}
    if len(widths) > 1:
        reason = " and ".join(f"{width} in {name}" for width, name in widths.items())
        raise ValueError(f"--embeddings {root}: the vectors have {reason} numbers; give those of one model")
    return GivenEmbeddings(folder=str(root), parts=parts, width=next(iter(widths)))


def _files_by_number(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    paths = ((pattern.match(path.name), path) for path in folder.iterdir()) if folder.is_dir() else ()
    return {int(match[1]): path for match, path in paths if match}


def _open_part(vectors: Path, metadata: Path) -> EmbeddingPart:
    try:
        file = pq.ParquetFile(metadata)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{metadata} is not a Parquet file, or is damaged: {error}") from error
    refuse_pickles(file.schema_arrow, path=str(metadata))
    columns = [name for name in COLUMNS if name in file.schema_arrow.names]
    if not columns:
        raise ValueError(
            f"{metadata} has neither image_path nor key, only {', '.join(file.schema_arrow.names)}: nothing says whose vectors these are"
        )
    rows = len(_memory_map(vectors))
    if rows != file.metadata.num_rows:
        raise ValueError(
            f"{vectors} has {rows:,} vectors and {metadata.name} {file.metadata.num_rows:,} names; they do not belong together"
        )
    return EmbeddingPart(vectors=vectors, metadata=metadata, column=columns[0], rows=rows)


def _memory_map(path: Path) -> np.ndarray:
    """The array of a file, of which nothing is read before it is asked for."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as a plain array of numbers; pickled objects are never loaded") from error
    if array.ndim != 2 or array.dtype not in (np.float16, np.float32) or not array.shape[1]:
        raise ValueError(f"{path} holds {array.dtype} of shape {array.shape}; embeddings are float16 or float32 with one row an image")
    return array


KeyTransform = Callable[[str], str]


def match(names: Sequence[str], keys: Sequence[str], *, folder: str) -> Int64[np.ndarray, " N"]:
    """For each image, by its key in the source, the row that is its own; -1 where there is none.

    By the path below one common folder; where no path fits, by a tar member's name without ending, by file name, by that without ending.
    Once one of these has found an image, the next is not tried: what it would find beside could be another image. A `ValueError` for a
    row that could belong to two images, or an image with two rows.
    """
    for of_key, of_name in _comparisons(names, keys):
        tokens = [of_name(name) for name in names]
        row_of = {token: row for row, token in enumerate(tokens)}
        wanted = [of_key(key) for key in keys]
        if any(token in row_of for token in wanted):
            _refuse_doubles(tokens, wanted, names=names, keys=keys, folder=folder)
            return np.array([row_of.get(token, -1) for token in wanted], np.int64)
    return np.full(len(keys), -1, np.int64)


def _comparisons(names: Sequence[str], keys: Sequence[str]) -> Iterator[tuple[KeyTransform, KeyTransform]]:
    """What is compared: of a key, and of a name in the metadata."""
    prefix = _prefix(names, set(keys))
    yield str, lambda name: name.removeprefix(prefix)
    yield lambda key: sample_of(key.partition(".tar/")[2] or key)[0], str
    yield _file_name, _file_name
    yield lambda key: sample_of(_file_name(key))[0], lambda name: sample_of(_file_name(name))[0]


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _prefix(names: Sequence[str], keys: set[str]) -> str:
    """The folder above all names without which most of them are keys; empty where the names are keys as they are."""
    first, last = min(names, default=""), max(names, default="")
    shared = next((i for i, (one, other) in enumerate(zip(first, last)) if one != other), min(len(first), len(last)))
    above = [f"{folder}/" for folder in parents(first[:shared] + "x")] + (["/"] if first.startswith("/") else [])
    return max(["", *above], key=lambda prefix: sum(name.removeprefix(prefix) in keys for name in names))


def _refuse_doubles(tokens: Sequence[str], wanted: Sequence[str], *, names: Sequence[str], keys: Sequence[str], folder: str) -> None:
    rows, images = Counter(tokens), Counter(wanted)
    both = [token for token in images if token in rows and (rows[token] > 1 or images[token] > 1)]
    if not both:
        return
    own = [key for key, token in zip(keys, wanted) if token == both[0]][:2]
    theirs = [name for name, token in zip(names, tokens) if token == both[0]][:2]
    raise ValueError(
        f"{len(both):,} names in --embeddings {folder} fit more than one image or occur more than once, such as "
        f"{' and '.join(map(repr, theirs))} for {' and '.join(map(repr, own))}; embed the source as it is given here, once"
    )
