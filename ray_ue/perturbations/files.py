"""Opens a poison's file with the class that the file's header names."""

from pathlib import Path

from ray_ue.perturbations.additive import Additive
from ray_ue.perturbations.base import Poison, head
from ray_ue.perturbations.filter import Filter
from ray_ue.perturbations.pixel import Pixel
from ray_ue.perturbations.waves import Waves
from ray_ue.registry import pick

KINDS: dict[str, type[Additive] | type[Filter] | type[Pixel] | type[Waves]] = {kind.kind: kind for kind in (Additive, Filter, Pixel, Waves)}


def open_poison_file(path: Path) -> Poison:
    """The poison that `save` wrote; a bank of deltas is mapped, not read. A `ValueError` if it is no poison of ours."""
    kind, _, number = head(path).partition(" ")
    return pick(KINDS, kind, what="kind of poison").open(path, int(number))
