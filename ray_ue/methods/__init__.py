"""The methods by name."""

from ray_ue.methods.base import Method, View
from ray_ue.methods.noise import RandomNoise
from ray_ue.methods.uc import UC

__all__ = ["METHODS", "Method", "View"]

METHODS: dict[str, type[Method]] = {"uc": UC, "noise": RandomNoise}
