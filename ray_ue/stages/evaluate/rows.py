"""Which rows an evaluation looks at, which of them are held out, and which rows of a copy belong to which clean ones."""

import hashlib

import numpy as np

from ray_ue.engine.stage import stage
from ray_ue.grouping.sampling import draw_sample
from ray_ue.progress import say
from ray_ue.random_streams import STREAMS
from ray_ue.stages.evaluate.copies import ProtectedCopy
from ray_ue.stages.evaluate.job import EvaluationJob
from ray_ue.stages.evaluate.pairing import Pairs, refuse_strangers
from ray_ue.stages.evaluate.sources import VERSION, Ids, IndexedSource, digest
from ray_ue.stages.protect.views import open_views, read_arrays
from ray_ue.storage.artifacts import Artifact, Folder

SHARED = 0.01  # of the test rows may also be training rows: real collections hold a few duplicates


def sampled(job: EvaluationJob, rows: int, test_rows: int) -> tuple[Ids, Ids]:
    """The training and the test rows that are looked at."""
    grid = job.grid
    return draw_sample(rows, size=grid.train_rows or rows, seed=0), draw_sample(test_rows, size=grid.test_rows or test_rows, seed=0)


def split(job: EvaluationJob, rows: int) -> tuple[Ids, Ids]:
    """The same for one source: random rows that are held out for the test, and random ones of the others."""
    shuffled = np.random.default_rng([job.recipe.seed, STREAMS["evaluate/held-out"]]).permutation(rows)
    held = round(job.held_out * rows)
    test, train = shuffled[:held][: job.grid.test_rows or held], shuffled[held:][: job.grid.train_rows or rows]
    if len(test) < 2 or len(train) < 2:
        raise ValueError(f"{rows} images are too few to hold out {job.held_out:g} of them for a test; name test images")
    return np.sort(train), np.sort(test)


def match(copy: ProtectedCopy, source: IndexedSource, pairs: Pairs, *, clean: Artifact, copied: Artifact, ids: Ids) -> Artifact:
    """`rows.npz`: for every usable row its place in `ids` (`row`), among the clean views (`clean`) and among the copy's (`copy`)."""

    def build(folder: Folder) -> dict:
        before, clean_ids = open_views(clean.folder)
        after, copy_ids = open_views(copied.folder)
        good = np.isin(pairs.clean, clean_ids) & np.isin(pairs.clean, ids) & np.isin(pairs.copy, copy_ids)
        rows = {
            "row": np.searchsorted(ids, pairs.clean[good]),
            "clean": np.searchsorted(clean_ids, pairs.clean[good]),
            "copy": np.searchsorted(copy_ids, pairs.copy[good]),
        }
        if len(rows["row"]) < 2:
            raise ValueError(f"only {len(rows['row'])} images of {copy.uri} could be matched with their originals and read")
        if not pairs.exact:
            refuse_strangers(before[rows["clean"]], after[rows["copy"]], uri=copy.uri)
        with folder.writing("rows.npz") as file:
            np.savez(file, row=rows["row"], clean=rows["clean"], copy=rows["copy"])
        return {"rows": len(rows["row"]), **{name: digest(places) for name, places in rows.items()}}

    fields = {"pairs": "by ledger"} if copy.written and not pairs.exact else {}
    return stage(source.run, "match", version=VERSION, fields=fields, inputs={"clean": clean, "copy": copied}, build=build)


def refuse_shared(train: Artifact, test: Artifact) -> None:
    """Refuse a test set that holds training images: its accuracy would say nothing."""
    both = len(_hashes(train) & (tested := _hashes(test)))
    if both > SHARED * len(tested):
        raise ValueError(
            f"{both:,} of the {len(tested):,} test images are also training images, so accuracy on them would say nothing; "
            "give --test images that the copy was not made from"
        )
    if both:
        say(f"  warning  {both} of {len(tested):,} test images are also training images")


def refuse_published(copied: Artifact, test: Artifact, *, uri: str) -> None:
    """Refuse a test set that holds images of a protected copy, as a copy does that lies without its private folder."""
    both = len(_hashes(copied) & (tested := _hashes(test)))
    if both > SHARED * len(tested):
        raise ValueError(
            f"{both:,} of the {len(tested):,} test images are images of the protected copy {uri}; "
            "give --test clean images that were never published"
        )


def without_shared(train: Artifact, test: Artifact) -> Ids:
    """The test rows that are no training images as well: a collection holds duplicates, of which a part may be held out."""
    known = _hashes(train)
    pixels, ids = open_views(test.folder)
    return ids[[_hash(row) not in known for row in pixels]]


def open_match(folder: Folder) -> dict[str, np.ndarray]:
    return read_arrays(folder, "rows.npz")


def _hashes(views: Artifact) -> set[bytes]:
    return {_hash(row) for row in open_views(views.folder)[0]}


def _hash(row: np.ndarray) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=12).digest()
