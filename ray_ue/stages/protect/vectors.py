"""Vectors: reading what embed wrote, one part in memory at a time, in processes that need no surrogate."""

from collections.abc import Iterator

import numpy as np

from ray_ue.storage.artifacts import Artifact, Folder


def vectors(embedded: Artifact) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(ids `n`, vectors `n D`) of each chunk in id order; memory holds one chunk at a time."""
    for name in embedded.folder.names("vectors"):
        yield read_vectors(embedded.folder, name)


def read_vectors(folder: Folder, name: str) -> tuple[np.ndarray, np.ndarray]:
    table = folder.read_table(f"vectors/{name}", columns=("id", "vector")).combine_chunks()
    column = table["vector"]
    flat = column.chunk(0).flatten().to_numpy() if column.num_chunks else np.zeros(0, np.float32)
    return table["id"].to_numpy(), flat.reshape(len(table), column.type.list_size)
