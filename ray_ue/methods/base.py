"""The method interface, and the view of the collection that a method crafts from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from ray_ue.loop import Step, Workers, fill
from ray_ue.models.device_memory import fits, free_bytes
from ray_ue.models.normalization import floats, scaled
from ray_ue.models.pretrained.surrogates import Images, Surrogate
from ray_ue.perturbations import Poison
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.storage.artifacts import Folder
from ray_ue.types import Centers, PixelBlock, SlotOf

__all__ = ["Aimed", "Method", "Per", "Step", "View", "Workers"]

Aimed = Int[np.ndarray, " G"]
Per = Literal["group", "image"]


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A sample of the collection at the canvas size; `pixels` may be a memory map: index rows, never copy it whole.

    `slot_of` says which entry of the bank a row uses and `group_of` its group: a cluster, or a label. They are
    the same when a group shares one entry. When every image has its own, the sample is the whole collection, row i uses slot i, and
    `deltas` is the table that the entries are kept in. `also` are further groupings of the same rows.
    """

    pixels: PixelBlock
    slot_of: SlotOf
    slots: int
    group_of: SlotOf
    groups: int
    centers: Centers
    surrogate: Surrogate
    deltas: DeltaTable
    also: tuple[SlotOf, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.slot_of) == len(self.group_of) or not len(self.pixels):
            raise ValueError(
                f"{len(self.pixels)} images have {len(self.slot_of)} slots and {len(self.group_of)} groups; "
                "a view needs one of each for each of at least one image"
            )
        if (top := int(self.slot_of.max())) >= self.slots:
            raise ValueError(f"there is no slot {top}: there are only {self.slots}")
        if (top := int(self.group_of.max())) >= len(self.centers) or len(self.centers) != self.groups:
            raise ValueError(f"group {top} has no center: there are only {len(self.centers)}")
        if self.pixels.shape[1:3] != (self.surrogate.canvas,) * 2:
            raise ValueError(f"images of {self.pixels.shape[1:3]} do not fill {self.surrogate.name}'s canvas of {self.surrogate.canvas}")

    def images(self, rows: Int[np.ndarray, " B"]) -> Images:
        """Rows as [0, 1] images on the surrogate's device."""
        device = self.surrogate.device
        if len(self._resident):
            return scaled(self._resident[torch.from_numpy(rows).to(device)])
        return floats(self.pixels[rows], device=device)

    @cached_property
    def _resident(self) -> UInt8[Tensor, "n H W 3"]:
        """All rows on a GPU where they fit, so that no batch waits for a file; empty where batches are read from the file."""
        device = self.surrogate.device
        if device.type == "cuda" and fits(self.pixels.nbytes, device=device, free=free_bytes(device)):
            resident = torch.empty(self.pixels.shape, dtype=torch.uint8, device=device)
            fill(resident, self.pixels)
            return resident
        return torch.zeros((0, *self.pixels.shape[1:]), dtype=torch.uint8)

    @property
    def per(self) -> Per:
        """Whether a group shares an entry of the bank, or every image has its own."""
        return "group" if self.slots == self.groups and (self.slot_of == self.group_of).all() else "image"

    def counts(self) -> list[int]:
        """How many groups each grouping has."""
        return [self.groups, *(int(groups.max()) + 1 for groups in self.also)]

    def group_of_slot(self) -> Int[np.ndarray, " S"]:
        """The group that each slot belongs to; a slot without rows in this sample is its own group."""
        group_of = np.arange(self.slots) % self.groups
        group_of[self.slot_of] = self.group_of
        return group_of


def by_group(pixels: PixelBlock, *, group_of: SlotOf, centers: Centers, surrogate: Surrogate, budget: Budget) -> View:
    """A view in which a group shares one entry, so that no table is needed."""
    unused = DeltaTable(home=Folder("unused"), rows=len(pixels), side=surrogate.canvas, pools=1, budget=budget)
    count = len(centers)
    return View(
        pixels=pixels,
        slot_of=group_of,
        slots=count,
        group_of=group_of,
        groups=count,
        centers=centers,
        surrogate=surrogate,
        deltas=unused,
    )


class Method(ABC):
    """A frozen value that turns a view into a poison; every step can be resumed from."""

    per: ClassVar[Per]
    """Its default granularity: one entry of the bank for a whole group, or one for every image."""
    keeps_budget: ClassVar[bool] = True
    """Whether its perturbations keep the budget; a filter or a single pixel is bounded otherwise."""

    uses_groups: ClassVar[bool] = True
    """Whether it uses the groups even where every image has its own entry."""
    multi_grouping: ClassVar[bool] = False
    """Whether it can craft for several groupings at once (`--also-clusters`)."""
    single_worker: ClassVar[bool] = False
    """Whether it compares all rows of a batch in one process and so runs on one worker only."""
    surrogate_kind: ClassVar[str] = ""
    """The only surrogate family that it accepts, such as open_clip; empty: any."""
    file_settings: ClassVar[tuple[str, ...]] = ()
    """Its settings that name a local file."""

    @property
    def uses_surrogate(self) -> bool:
        """Whether it crafts in the features of a frozen surrogate, toward the centres of the groups."""
        return False

    @property
    def source_arch(self) -> str:
        """The architecture of the network that it trains; empty if it trains none."""
        return ""

    @property
    def trains_proxies(self) -> bool:
        """Whether it trains exploiters of its own, for which clusters cannot be the labels: those of `--also-clusters` are."""
        return False

    @property
    def unplanned_model(self) -> str:
        """A second network whose cost the plan omits ('generators'); empty if there is none."""
        return ""

    def peak_batch(self, rows: int, *, pools: int) -> int:
        """The most images of a sample of `rows`, whose table has `pools`, that go through a network at once."""
        return 0

    def identity(self) -> dict[str, object]:
        """The settings that enter a fingerprint; a file enters by its content, never by its path.

        A setting that was renamed keeps its old name here, as `metadata={"identity": ...}` of its field.
        """
        renamed = {entry.name: entry.metadata.get("identity", entry.name) for entry in fields(cast(Any, self))}
        return {renamed[name]: value for name, value in asdict(cast(Any, self)).items()}

    def validate_inputs(self, *, budget: Budget, side: int, entries: int) -> None:  # noqa: B027 - most have no files
        """A `ValueError`, before any long work, if its files do not suit views of `side` pixels or a bank of `entries` (0: unknown)."""

    @abstractmethod
    def passes(self, rows: int) -> int:
        """Images that go forward and backward through a network, for a sample of `rows`: the cost."""

    @abstractmethod
    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        """Yield after each step; `aim[g]` is the centre that group g is pushed toward, an empty `resume` starts anew."""

    @abstractmethod
    def poison(self, state: Mapping[str, Tensor], *, deltas: DeltaTable, budget: Budget) -> Poison:
        """The poison that the last step's state stands for, together with the table, where every image has an entry."""
