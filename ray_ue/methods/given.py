"""Published perturbations, read from a file, so that they pass through the same export and evaluation as crafted ones."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ray_ue.methods._shared.surrogate_free import DeltaBlock, Slots, SlotSampler, SurrogateFreeMethod
from ray_ue.methods.base import View
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.interchange import Perturbations, digest, open_perturbations


@dataclass(frozen=True, kw_only=True)
class GivenPerturbation(SurrogateFreeMethod):
    """Entry i of `file` belongs to image i in the order of the source's listing, or to group i; `key` names one of several arrays.

    `interchange.open_perturbations` says what a file may hold. An entry beyond the budget is refused, never clipped; floats are rounded
    to whole levels. Every worker reads the file, so it must lie where all of them see it.
    """

    per = "image"
    uses_groups = False
    file_settings = ("file",)
    file: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if not self.file:
            raise ValueError("a given perturbation needs its file: --settings file=PATH")

    def identity(self) -> dict[str, object]:
        return {"sha256": digest(Path(self.file)), "key": self.key}

    def validate_inputs(self, *, budget: Budget, side: int, entries: int) -> None:
        self._suiting(budget=budget, side=side, entries=entries)

    def slot_sampler(self, view: View, *, budget: Budget, seed: int) -> SlotSampler:
        other = {"group": (len(view.pixels), "image"), "image": (view.groups, "group")}[view.per]
        perturbations = self._suiting(budget=budget, side=view.surrogate.canvas, entries=view.slots, per=view.per, other=other)

        def draw(slots: Slots, groups: Slots) -> DeltaBlock:
            return torch.from_numpy(perturbations.levels(slots)) / 255

        return draw

    def _suiting(self, *, budget: Budget, side: int, entries: int, per: str = "image", other: tuple[int, str] = (0, "")) -> Perturbations:
        """The file's entries; `other` is how many there would be of the other kind."""
        perturbations = open_perturbations(Path(self.file), key=self.key)
        if entries and len(perturbations) != entries:
            hint = f"; --per {other[1]} would fit" if len(perturbations) == other[0] else "; there must be one for each"
            raise ValueError(f"{self.file} has {len(perturbations):,} entries for {entries:,} {per}s{hint}")
        if perturbations.side != side:
            raise ValueError(
                f"{self.file} is of {perturbations.side} x {perturbations.side} pixels, but images are {side} x {side} here; "
                f"--image-size {perturbations.side} would fit"
            )
        perturbations.check(budget)
        return perturbations
