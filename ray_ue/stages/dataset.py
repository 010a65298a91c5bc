"""The data of an evaluation: every pixel set at one size, matched row by row, and the exploiter's labels, each an artifact of the run."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from ray_ue.artifacts import Artifact, Folder
from ray_ue.budget import deviation
from ray_ue.grid import Grid
from ray_ue.images import Limits, Rejected, decode
from ray_ue.progress import say
from ray_ue.recipe import Recipe, Resources
from ray_ue.sampling import draw_sample
from ray_ue.sources import open_source
from ray_ue.stages.base import Run, stage
from ray_ue.stages.copies import Copy
from ray_ue.stages.index import index, labels_of
from ray_ue.stages.matching import Pairs, pair, refuse_strangers
from ray_ue.stages.seen import Control, Path
from ray_ue.stages.session import Machines
from ray_ue.stages.views import See, open_views, read_few, read_views
from ray_ue.types import T

VERSION = 1
SMALL = 64  # images up to this side are seen as they are
MEASURED = 64  # pairs from which the budget of a foreign copy is read
SHARED = 0.01  # of the test rows may also be training rows: real collections hold a few duplicates


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Where an evaluation gets everything from; each part is made when it is asked for and opened when it was made before."""

    grid: Grid
    clean_uri: str
    test_uri: str
    copies: list[Copy]
    work: Folder
    resources: Resources
    machines: Machines
    recipe: Recipe  # of reading: format, limits, and the encoder as its surrogate
    _made: dict[tuple, Any] = field(default_factory=dict)

    def once(self, *key: object, make: Callable[[], T]) -> T:
        """What `make` gives, made once for this key in this process."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def run(self, uri: str) -> Run:
        home = {"output": self.work, "work": self.work, "shared": self.work}
        return Run(source=uri, **home, recipe=self.recipe, resources=self.resources, machines=self.machines)

    @property
    def clean_index(self) -> Artifact:
        return self.index_of(self.clean_uri)

    @property
    def test_index(self) -> Artifact:
        return self.index_of(self.test_uri)

    @cached_property
    def wanted(self) -> np.ndarray:
        """Ids of the clean rows that are trained on."""
        rows = self.clean_index.facts["rows"]
        return draw_sample(rows, size=self.grid.train_rows or rows, seed=0)

    @cached_property
    def wanted_test(self) -> np.ndarray:
        rows = self.test_index.facts["rows"]
        return draw_sample(rows, size=self.grid.test_rows or rows, seed=0)

    @cached_property
    def size(self) -> int:
        """The side at which victims see images: the published ones' own, up to a limit."""
        if self.grid.image_size:
            return self.grid.image_size
        copy = self.copies[0]
        uri = self.clean_uri if copy.recipe else copy.uri  # a copy made here has its source's sizes, or the one it was asked for
        first = np.arange(min(16, self.index_of(uri).facts["rows"]))
        sides = [min(rgb.shape[:2]) for rgb in self.glance(uri, self.index_of(uri), first) if rgb is not None]
        if not sides:
            raise ValueError(f"none of the first images of {uri} can be read")
        middle = copy.resize or int(np.median(sides))
        return middle if middle <= SMALL else 224

    @property
    def canvas(self) -> int:
        """The side of a stored view: UC's victims crop 224 out of 256; small images are stored whole."""
        return self.size if self.size <= SMALL else round(self.size * 256 / 224)

    def few(self, uri: str, listed: Artifact, ids: np.ndarray, *, see: See) -> list[np.ndarray | None]:
        """The views of a few rows, made here and now; `ids` ascend; None for those that cannot be read."""
        blobs = read_few(open_source(uri, format=self.recipe.format), listed, ids)
        return [_seen(see, data, number) for data, number in zip(blobs, ids.tolist())]

    def glance(self, uri: str, listed: Artifact, ids: np.ndarray) -> list[np.ndarray | None]:
        """The same at their own size."""
        return self.few(uri, listed, ids, see=Whole(limits=self.recipe.limits()))

    @cached_property
    def true_labels(self) -> np.ndarray:
        """The class number of every row of the clean source, -1 where there is none."""
        return labels_of(self.clean_index)

    def views(self, uri: str, listed: Artifact, wanted: np.ndarray, *, see: See, identity: dict, name: str) -> Artifact:
        fields = identity | {"canvas": self.canvas, "wanted": digest(wanted)}
        run = self.run(uri)

        def build(folder: Folder) -> dict:
            rows = read_views(run, listed, wanted, see=see, canvas=self.canvas, name=name, folder=folder)
            if rows < 2:
                raise ValueError(f"only {rows} of {len(wanted):,} images of {uri} could be read")
            return {"rows": rows, "asked": len(wanted), "sha256": digest(open_views(folder)[0])}

        made = partial(stage, run, "views", version=VERSION, fields=fields, inputs={"index": listed}, build=build)
        return self.once("views", listed.fingerprint, str(fields), make=made)

    def path(self, copy: Copy) -> Path:
        return Path(canvas=self.canvas, limits=self.recipe.limits(), resize=copy.resize, image_format=copy.image_format)

    def control(self, copy: Copy, *, levels: int) -> Artifact:
        see = Control(path=self.path(copy), levels=levels, seed=0)
        identity = {"control": see.identity()}
        name = "noise" if levels else "clean"
        return self.views(self.clean_uri, self.clean_index, self.wanted, see=see, identity=identity, name=name)

    @property
    def as_it_is(self) -> Control:
        """No change on the way: decoded whole as the controls are, where `look` would let a JPEG file scale itself down."""
        return Control(path=Path(canvas=self.canvas, limits=self.recipe.limits(), resize=0, image_format="png"), levels=0, seed=0)

    @cached_property
    def test(self) -> Artifact:
        wanted, identity = self.wanted_test, {"plain": True}
        return self.views(self.test_uri, self.test_index, wanted, see=self.as_it_is, identity=identity, name="test")

    def levels(self, copy: Copy) -> int:
        """The budget that a copy keeps: its recipe's, or for a copy from elsewhere what some of its rows show."""
        if copy.recipe:
            return copy.recipe.levels().levels
        return self.once("levels", copy.uri, make=lambda: self._levels(copy))

    def _levels(self, copy: Copy) -> int:
        pairs = self.pairs(copy)
        few = np.linspace(0, len(pairs.clean) - 1, min(MEASURED, len(pairs.clean))).astype(int)
        before = self.glance(self.clean_uri, self.clean_index, pairs.clean[few])
        order = np.argsort(pairs.copy[few])
        seen = dict(zip(pairs.copy[few][order].tolist(), self.glance(copy.uri, self.index_of(copy.uri), pairs.copy[few][order])))
        after = [seen[row] for row in pairs.copy[few].tolist()]
        changes = [deviation(a, b) for a, b in zip(before, after) if a is not None and b is not None and a.shape == b.shape]
        if not changes:
            raise ValueError(
                f"{copy.uri} has other image sizes than the clean source and no work folder beside it, so its budget is unknown"
            )
        found = max(1, min(127, max(changes)))
        say(f"    noise  {copy.name} changes its images by up to {max(changes)} levels (read off {len(changes)} of them)")
        return found

    def index_of(self, uri: str) -> Artifact:
        return self.once("index", uri, make=lambda: index(self.run(uri)))

    def pairs(self, copy: Copy) -> Pairs:
        """The copy's rows among the wanted ones, and their originals."""
        return self.once("pairs", copy.uri, make=lambda: self._pairs(copy))

    def _pairs(self, copy: Copy) -> Pairs:
        found = pair(self.clean_index, self.index_of(copy.uri), copy)
        chosen = np.isin(found.clean, self.wanted)
        return Pairs(clean=found.clean[chosen], copy=found.copy[chosen])

    @cached_property
    def ids(self) -> np.ndarray:
        """Source ids of the training rows that labels are made for: the readable ones among the wanted."""
        return open_views(self.control(self.copies[0], levels=0).folder)[1]

    def copied(self, copy: Copy) -> Artifact:
        """The copy's own images."""
        wanted = np.sort(self.pairs(copy).copy)
        return self.views(copy.uri, self.index_of(copy.uri), wanted, see=self.as_it_is, identity={"copy": copy.identity()}, name="copy")

    def placed_here(self, copy: Copy) -> bool:
        """Whether the copy has clusters that are known for these very clean rows: it was made here, from this listing."""
        if not copy.artifacts or copy.artifacts["cluster"].facts.get("by") == "none":
            return False
        return copy.artifacts["index"].fingerprint == self.clean_index.fingerprint

    def match(self, copy: Copy, *, like: Copy) -> Artifact:
        """`rows.npz`: for every usable row its place in `ids` (`row`), among the clean views (`clean`) and among the copy's (`copy`).

        `like` is the protected copy whose path the clean views took: `copy` itself, or the one that it was purified from.
        """
        clean, copied = self.control(like, levels=0), self.copied(copy)
        inputs = {"clean": clean, "copy": copied}

        def build(folder: Folder) -> dict:
            pairs = self.pairs(copy)
            before, here = open_views(clean.folder)
            after, there = open_views(copied.folder)
            good = np.isin(pairs.clean, here) & np.isin(pairs.clean, self.ids) & np.isin(pairs.copy, there)
            found = {
                "row": np.searchsorted(self.ids, pairs.clean[good]),
                "clean": np.searchsorted(here, pairs.clean[good]),
                "copy": np.searchsorted(there, pairs.copy[good]),
            }
            if len(found["row"]) < 2:
                raise ValueError(f"only {len(found['row'])} images of {copy.uri} could be matched with their originals and read")
            if not copy.artifacts:  # what was made here is matched by its ledger
                refuse_strangers(before[found["clean"]], after[found["copy"]], uri=copy.uri)
            with folder.writing("rows.npz") as file:
                np.savez(file, row=found["row"], clean=found["clean"], copy=found["copy"])
            return {"rows": len(found["row"]), **{name: digest(places) for name, places in found.items()}}

        made = partial(stage, self.run(copy.uri), "match", version=VERSION, fields={}, inputs=inputs, build=build)
        return self.once("match", copy.uri, like.uri, make=made)

    def refuse_shared(self) -> None:
        """Refuse a test set that holds training images: its accuracy would say nothing."""
        see = self.as_it_is  # for most copies this is their clean control
        plain = self.views(self.clean_uri, self.clean_index, self.wanted, see=see, identity={"control": see.identity()}, name="clean")
        train, test = (set(_hashes(open_views(done.folder)[0])) for done in (plain, self.test))
        both = len(train & test)
        if both > SHARED * len(test):
            raise ValueError(
                f"{both:,} of the {len(test):,} test images are also training images, so accuracy on them would say nothing; "
                "give --test images that the copy was not made from"
            )
        if both:
            say(f"  warning  {both} of {len(test):,} test images are also training images")


def open_match(folder: Folder) -> dict[str, np.ndarray]:
    with folder.reading("rows.npz") as file, np.load(file, allow_pickle=False) as found:
        return {key: found[key] for key in found.files}


def _hashes(pixels: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=12).digest() for row in pixels]


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A row at its own size."""

    limits: Limits

    def __call__(self, data: bytes, number: int, label: int) -> np.ndarray:
        return decode(data, limits=self.limits).rgb


def _seen(see: See, data: bytes, number: int) -> np.ndarray | None:
    try:
        return see(data, number, -1)
    except Rejected:
        return None


def digest(array: np.ndarray) -> str:
    """sha256 of an array's content, read in pieces."""
    total = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    for begin in range(0, len(array), 4096):
        total.update(np.ascontiguousarray(array[begin : begin + 4096]).data)
    return total.hexdigest()[:16]
