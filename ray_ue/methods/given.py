"""A perturbation that somebody published, from a file: it goes through the same audit as one of ours. Makes nothing."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ray_ue.budget import Budget
from ray_ue.interchange import Perturbations, digest, open_perturbations
from ray_ue.methods.base import View
from ray_ue.methods.drawn import Draw, Drawing, Drawn, Slots


@dataclass(frozen=True, kw_only=True)
class Given(Drawn):
    """Entry i of `file` belongs to image i in the order of the source's listing, or to group i; `key` names one of several arrays.

    `interchange.open_perturbations` says what a file may hold. An entry beyond the budget is refused, never clipped; floats are rounded
    to whole levels. Every worker reads the file, so it must lie where all of them see it.
    """

    per = "image"
    file: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if not self.file:
            raise ValueError("a given perturbation needs its file: --settings file=PATH")

    def identity(self) -> dict[str, object]:
        return {"sha256": digest(Path(self.file)), "key": self.key}

    def drawn(self, view: View, *, budget: Budget, seed: int) -> Draw:
        found = open_perturbations(Path(self.file), key=self.key)
        self._refuse_misfit(found, view)
        found.check(budget)

        def draw(slots: Slots, groups: Slots) -> Drawing:
            return torch.from_numpy(found.levels(slots)) / 255

        return draw

    def _refuse_misfit(self, found: Perturbations, view: View) -> None:
        if len(found) != view.slots:
            other = {"group": (len(view.pixels), "image"), "image": (view.groups, "group")}[view.per]
            hint = f"; --per {other[1]} would fit" if len(found) == other[0] else "; there must be one for each"
            raise ValueError(f"{self.file} has {len(found):,} entries for {view.slots:,} {view.per}s{hint}")
        if found.side != view.surrogate.canvas:
            raise ValueError(
                f"{self.file} is of {found.side} x {found.side} pixels, but images are {view.surrogate.canvas} x {view.surrogate.canvas} "
                f"here; --image-size {found.side} would fit"
            )
