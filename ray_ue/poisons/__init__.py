"""Poisons: what changes an image of any size, bytes to bytes, by the slot that it uses, and the files they are kept in."""

from ray_ue.poisons.additive import Additive, Streamed, write_bank
from ray_ue.poisons.base import Poison
from ray_ue.poisons.files import open_poison_file
from ray_ue.poisons.filter import Filter
from ray_ue.poisons.fitting import mirrored
from ray_ue.poisons.pixel import Pixel

__all__ = ["Additive", "Filter", "Pixel", "Poison", "Streamed", "mirrored", "open_poison_file", "write_bank"]
