"""ray-ue makes image collections unlearnable. `protect` makes a copy, `check` asks in minutes whether it protects its own images,
`evaluate` finds what protection is left, `sweep` protects and evaluates with many settings, `measure` estimates the mutual information
that MI-UE explains protection with.

Everything that can be asked for is a field of `Recipe`, `Grid`, `Measurement` or `Resources`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_ue.config.grid import Grid
    from ray_ue.config.recipe import Recipe, Resources
    from ray_ue.perturbations.budget import Budget
    from ray_ue.pipelines.check import check
    from ray_ue.pipelines.evaluate import evaluate
    from ray_ue.pipelines.measure import Measurement, measure
    from ray_ue.pipelines.protect import protect
    from ray_ue.sweeps.run import sweep

__all__ = ["Budget", "Grid", "Measurement", "Recipe", "Resources", "check", "evaluate", "measure", "protect", "sweep"]

HOMES = {
    "Budget": "ray_ue.perturbations.budget",
    "Grid": "ray_ue.config.grid",
    "Measurement": "ray_ue.pipelines.measure",
    "Recipe": "ray_ue.config.recipe",
    "Resources": "ray_ue.config.recipe",
    "check": "ray_ue.pipelines.check",
    "evaluate": "ray_ue.pipelines.evaluate",
    "measure": "ray_ue.pipelines.measure",
    "protect": "ray_ue.pipelines.protect",
    "sweep": "ray_ue.sweeps.run",
}


def __getattr__(name: str) -> object:
    """Import on first use: `import ray_ue` itself does nothing."""
    from importlib import import_module

    if name not in HOMES:
        raise AttributeError(f"module 'ray_ue' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
