"""ray-ue makes image collections unlearnable. `protect` is the main job; everything it can be asked for is a field of `Recipe`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_ue.pipeline import protect
    from ray_ue.recipe import Recipe, Resources

__all__ = ["Recipe", "Resources", "protect"]

HOMES = {"protect": "ray_ue.pipeline", "Recipe": "ray_ue.recipe", "Resources": "ray_ue.recipe"}


def __getattr__(name: str) -> object:
    """Import on first use: `import ray_ue` itself does nothing."""
    from importlib import import_module

    if name not in HOMES:
        raise AttributeError(f"module 'ray_ue' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
