"""Import embeddings: vectors from clip-retrieval replace our own; only images without one are read."""

import numpy as np
import pyarrow as pa

from ray_ue.engine.stage import Run, stage
from ray_ue.grouping.embeddings import GivenEmbeddings, match, open_given
from ray_ue.images.codec import Rejected, decode
from ray_ue.progress import Progress, say
from ray_ue.stages.evaluate.pairing import keys_of
from ray_ue.stages.protect.embed import chunk_name, write_vectors
from ray_ue.stages.protect.index import Chunk, chunks, listed_source, rows_of
from ray_ue.stages.protect.rejected import gather_rejected, write_rejected
from ray_ue.stages.protect.views import read_few
from ray_ue.storage.artifacts import Artifact, Folder

VERSION = 1
FIELDS = ("embeddings", "max_pixels")


def import_embeddings(run: Run, *, index: Artifact) -> Artifact:
    """The vectors artifact, as `embed` writes it, from the folder that the recipe names."""
    fields = run.recipe.values(FIELDS)
    return stage(run, "embed", version=VERSION, fields=fields, inputs={"index": index}, build=lambda folder: build(run, index, folder))


def build(run: Run, index: Artifact, folder: Folder) -> dict:
    given = open_given(run.recipe.embeddings)
    names, keys = given.names(), keys_of(index)
    row_of = match(names, keys, folder=given.folder)
    unusable = look_at_missing(run, index, np.flatnonzero(row_of < 0), keys=keys, given=given, example=names[0] if names else "")
    used = len(keys) - len(unusable)
    say(f"    embed  {used:,} of {given.rows:,} vectors of {given.width} numbers from {given.folder}")
    progress = Progress(stage="embed", total=len(keys))
    for chunk in chunks(index):
        copy_chunk(chunk, index, folder, given=given, row_of=row_of, unusable=unusable)
        progress.add(chunk.rows, rejected=sum(chunk.first_id <= row < chunk.first_id + chunk.rows for row in unusable))
    progress.close()
    return gather_rejected(folder) | {"rows": len(keys), "device": "given", "width": given.width}


def copy_chunk(
    chunk: Chunk, index: Artifact, folder: Folder, *, given: GivenEmbeddings, row_of: np.ndarray, unusable: dict[int, str]
) -> None:
    """Write one chunk's vectors, and before them the reasons of those that have none."""
    ids = np.arange(chunk.first_id, chunk.first_id + chunk.rows)
    rows = rows_of(index.folder, chunk.shard).slice(chunk.start, chunk.rows)
    good = row_of[ids] >= 0
    if not good.all():
        bad, keys = ids[~good], rows["key"].filter(pa.array(~good))
        write_rejected(folder, chunk_name(chunk.number), ids=bad, keys=keys, reasons=[unusable[row] for row in bad.tolist()])
    usable, vectors = rows.filter(pa.array(good)), given.vectors(row_of[ids[good]])
    if not np.isfinite(vectors).all():
        wrong = usable["key"][int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])]
        raise ValueError(f"--embeddings {given.folder}: the vector of {wrong.as_py()!r} is not made of finite numbers; embed it again")
    write_vectors(folder, chunk.number, ids=ids[good], keys=usable["key"], labels=usable["label"], vectors=vectors)


def look_at_missing(
    run: Run, index: Artifact, missing: np.ndarray, *, keys: list[str], given: GivenEmbeddings, example: str
) -> dict[int, str]:
    """From row to reason for images without a vector; a `ValueError` if one of them can be read, as it would not be protected."""
    place = f"{given.folder} (where a name is for example {example!r})"
    if len(missing) > run.recipe.max_rejected * len(keys) or len(missing) == len(keys):
        raise ValueError(
            f"{len(missing):,} of {len(keys):,} images have no vector in --embeddings {place}, such as {keys[missing[0]]!r}; "
            "embed the whole source, as it is given here, with clip-retrieval"
        )
    reasons: dict[int, str] = {}
    source = listed_source(run, index)
    for row, data in zip(missing.tolist(), read_few(source, index, missing)):
        try:
            decode(data, limits=run.recipe.limits())
        except Rejected as reason:
            reasons[row] = f"no vector was given, and {reason}"
    if readable := [keys[row] for row in missing.tolist() if row not in reasons]:
        raise ValueError(
            f"{len(readable):,} of {len(keys):,} images can be read and have no vector in --embeddings {place}, such as {readable[0]!r}; "
            "embed them too, or take them out of the source"
        )
    return reasons
