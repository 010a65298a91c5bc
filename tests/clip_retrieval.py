"""A folder of embeddings laid out as clip-retrieval 2.45 writes it, by hand: the package itself needs another build of faiss."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd


def write_embeddings(
    root: Path, names: Sequence[str], vectors: np.ndarray, *, parts: int = 1, column: str = "image_path", dtype: type = np.float16
) -> Path:
    """`parts` files of vectors `n D` and of names; numbers are padded as the writer does, and captions lie beside the names."""
    (root / "img_emb").mkdir(parents=True)
    (root / "metadata").mkdir()
    (root / "text_emb").mkdir()
    digits = len(str(parts))
    for part, rows in enumerate(np.array_split(np.arange(len(names)), parts)):
        number = str(part).zfill(digits)
        np.save(root / f"img_emb/img_emb_{number}.npy", vectors[rows].astype(dtype))
        np.save(root / f"text_emb/text_emb_{number}.npy", vectors[rows].astype(dtype))
        table = pd.DataFrame({column: [names[row] for row in rows], "caption": [f"picture {row}" for row in rows]})
        table.to_parquet(root / f"metadata/metadata_{number}.parquet")
    return root
