"""Trained victims of a run folder: from a line of its results to the weights, images and labels."""

from dataclasses import dataclass
from functools import cached_property

from ray_ue.stages.evaluate.pixel_set import PixelSet
from ray_ue.storage.artifacts import Artifact, Folder, finished, opened

NO_WEIGHTS = "its weights were not kept; train it with --keep-weights, into a new --results folder"
NO_IMAGES = "the images that it was trained on are no longer in the run folder; the same ray-ue evaluate line makes them anew"


@dataclass(frozen=True, kw_only=True)
class TrainedVictim:
    """A finished cell and where everything that it was made from lies."""

    victim: str
    size: int
    classes: int
    folder: Folder
    home: Folder
    fingerprint: str
    pixels: PixelSet
    clean: PixelSet  # the same rows before protection
    rows: PixelSet  # the labels' rows
    labels: Folder


@dataclass(frozen=True, kw_only=True, eq=False)
class RunContents:
    """What a run folder holds, found by content: a cell's manifest says of which pixels and labels it was made, not where they lie."""

    home: Folder

    @cached_property
    def views(self) -> dict[str, Artifact]:
        return {artifact.fingerprint: artifact for artifact in self._every("views-")}

    @cached_property
    def matches(self) -> list[Artifact]:
        return self._every("match-")

    @cached_property
    def labels(self) -> dict[str, Artifact]:
        return {artifact.facts["sha256"]: artifact for artifact in self._every("labels-")}

    def _every(self, start: str) -> list[Artifact]:
        names = [name for name in self.home.names() if name.startswith(start)]
        return [opened(self.home.child(name)) for name in names if finished(self.home.child(name))]

    def trained(self, row: dict) -> TrainedVictim | str:
        """The cell of a line of the results; why there is none."""
        folder = self.home.child(f"cell-{row['cell']}")
        if not folder.exists("net.safetensors"):
            return NO_WEIGHTS
        cell = opened(folder)
        fields = cell.manifest.fields
        labels = self.labels.get(fields["labels"])
        pixels = self._pixels(fields["pixels"], fields["clean"], copied=row["data"] == "protected")
        if labels is None or pixels is None:
            return NO_IMAGES
        return TrainedVictim(
            victim=row["victim"],
            size=fields["size"],
            classes=labels.facts["classes"],
            folder=folder,
            home=self.home,
            fingerprint=cell.fingerprint,
            pixels=pixels[0],
            clean=pixels[1],
            rows=PixelSet(views=pixels[0].views, match=pixels[0].match, column="row", sha256=pixels[0].sha256),
            labels=labels.folder,
        )

    def _pixels(self, pixels: str, clean: str, *, copied: bool) -> tuple[PixelSet, PixelSet] | None:
        """(what was trained on, the same rows clean) by their digests, which are those of the views and of the places in them."""
        (trained_views, places), (clean_views, wanted) = pixels.split("-"), clean.split("-")
        for match in self.matches:
            plain, copy = (self.views.get(match.manifest.inputs[role]) for role in ("clean", "copy"))
            if plain is None or copy is None or plain.facts["sha256"] != clean_views or match.facts["clean"] != wanted:
                continue
            before = PixelSet(views=plain.folder, match=match.folder, column="clean", sha256=clean)
            if copied:
                if copy.facts["sha256"] == trained_views and match.facts["copy"] == places:
                    return PixelSet(views=copy.folder, match=match.folder, column="copy", sha256=pixels), before
                continue
            noisy = next((artifact for artifact in self.views.values() if artifact.facts["sha256"] == trained_views), None)
            if noisy is not None and places == wanted:
                return PixelSet(views=noisy.folder, match=match.folder, column="clean", sha256=pixels), before
        return None
