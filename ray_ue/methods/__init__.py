"""The methods by name, and how a recipe's values become one."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from ray_ue.methods.base import Method, View
from ray_ue.methods.noise import RandomNoise
from ray_ue.methods.uc import UC
from ray_ue.types import pick

__all__ = ["METHODS", "Method", "View", "build"]

METHODS: dict[str, type[Method]] = {"uc": UC, "noise": RandomNoise}


def build(name: str, values: Mapping[str, object]) -> Method:
    """The method called `name` with those of `values` that it has a field for."""
    method = pick(METHODS, name, what="method")
    return method(**{field.name: values[field.name] for field in fields(cast(Any, method))})
