"""Perturbations: the budget, the kinds of poison and their files, sign steps, and the table of per-image deltas."""

from ray_ue.perturbations.additive import Additive, Streamed, write_bank
from ray_ue.perturbations.base import Poison
from ray_ue.perturbations.files import open_poison_file
from ray_ue.perturbations.filter import Filter
from ray_ue.perturbations.fitting import reflected_positions
from ray_ue.perturbations.pixel import Pixel
from ray_ue.perturbations.waves import Waves

__all__ = ["Additive", "Filter", "Pixel", "Poison", "Streamed", "Waves", "open_poison_file", "reflected_positions", "write_bank"]
