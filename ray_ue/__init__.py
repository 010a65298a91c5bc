"""ray-ue makes image collections unlearnable. `protect` makes a copy, `evaluate` finds what protection is left, `sweep` does both for many
settings, `measure` estimates the mutual information that MI-UE explains protection with.

Everything that can be asked for is a field of `Recipe`, `Grid`, `Measurement` or `Resources`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_ue.evaluation import evaluate
    from ray_ue.grid import Grid
    from ray_ue.measurement import Measurement, measure
    from ray_ue.pipeline import protect
    from ray_ue.recipe import Recipe, Resources
    from ray_ue.sweeping import sweep

__all__ = ["Grid", "Measurement", "Recipe", "Resources", "evaluate", "measure", "protect", "sweep"]

HOMES = {
    "Grid": "ray_ue.grid",
    "Measurement": "ray_ue.measurement",
    "Recipe": "ray_ue.recipe",
    "Resources": "ray_ue.recipe",
    "evaluate": "ray_ue.evaluation",
    "measure": "ray_ue.measurement",
    "protect": "ray_ue.pipeline",
    "sweep": "ray_ue.sweeping",
}


def __getattr__(name: str) -> object:
    """Import on first use: `import ray_ue` itself does nothing."""
    from importlib import import_module

    if name not in HOMES:
        raise AttributeError(f"module 'ray_ue' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
