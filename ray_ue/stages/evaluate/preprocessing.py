"""How a row becomes a view of an evaluation: the path of the controls and of the perturbed test set. It imports no torch."""

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from ray_ue.images.codec import Limits, Picture, decode, encode, resized, square_view
from ray_ue.perturbations.additive import Additive
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.controls import noise_like, pattern_per_group
from ray_ue.random_streams import STREAMS
from ray_ue.stages.evaluate.copies import group_slots
from ray_ue.storage.artifacts import Folder
from ray_ue.types import Pixels


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a protected copy does to an image apart from the perturbation: resize it (0: no) and save it in a format."""

    canvas: int
    limits: Limits
    resize: int
    image_format: str

    def open(self, data: bytes) -> Picture:
        picture = decode(data, limits=self.limits)
        return resized(picture, size=self.resize) if self.resize else picture

    def save(self, picture: Picture, rgb: Pixels) -> np.ndarray:
        """The view of what a reader of the saved image decodes. Lossless formats give back what went in, so only JPEG is really written."""
        if self.image_format == "jpeg":
            changed = Picture(rgb=rgb, alpha=picture.alpha, exif=picture.exif, icc=picture.icc)
            rgb = decode(encode(changed, format="jpeg"), limits=self.limits).rgb
        return square_view(rgb, size=self.canvas)


@dataclass(frozen=True, kw_only=True)
class ControlView:
    """A clean row (`levels` 0), or one with fresh random noise of up to `levels`, on the path of the protected copy."""

    path: Preprocessing
    levels: int
    seed: int

    def __call__(self, data: bytes, number: int, label: int) -> np.ndarray:
        picture = self.path.open(data)
        if not self.levels:
            return self.path.save(picture, picture.rgb)
        rng = np.random.default_rng([self.seed, number, STREAMS["evaluate/noise"]])
        return self.path.save(picture, noise_like(picture.rgb, budget=Budget(levels=self.levels), rng=rng))

    def identity(self) -> dict:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PatternView:
    """A clean row with the random pattern of its group, `levels` up or down, on the path of the protected copy.

    A row without a group stays as it is.
    """

    path: Preprocessing
    groups: Folder
    levels: int
    seed: int

    def __call__(self, data: bytes, number: int, label: int) -> np.ndarray:
        picture = self.path.open(data)
        group_of, patterns = patterns_here(self.groups, self.levels, self.seed)
        group = int(group_of[number])
        return self.path.save(picture, patterns.apply(picture.rgb, group) if group >= 0 else picture.rgb)


@dataclass(frozen=True, kw_only=True)
class PoisonedView:
    """A test row with the perturbation that it would have got, had it been published: that of its cluster, or of its class."""

    path: Preprocessing
    poison: Folder
    slots: Folder

    def __call__(self, data: bytes, number: int, label: int) -> np.ndarray:
        from ray_ue.stages.protect.writer import poison_here  # brings torch, which only these tasks need

        picture = self.path.open(data)
        return self.path.save(
            picture, poison_here(self.poison).apply(picture.rgb, int(slots_here(self.slots)[number]), key=f"test/{number}")
        )


@lru_cache(maxsize=1)
def patterns_here(groups: Folder, levels: int, seed: int) -> tuple[np.ndarray, Additive]:
    """The group of every row of the source, and a random pattern for each group."""
    group_of = group_slots(groups)
    return group_of, pattern_per_group(int(group_of.max(initial=0)) + 1, levels=levels, seed=seed)


@lru_cache(maxsize=1)
def slots_here(folder: Folder) -> np.ndarray:
    return np.load(folder.fetch("slots.npy"), allow_pickle=False)
