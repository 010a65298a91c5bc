"""What the tests of a copy over time share: a folder of pictures, and the run that protects it."""

from pathlib import Path
from typing import Any

from conftest import image_bytes

from ray_ue.config.recipe import Resources
from ray_ue.pipelines.protect import protect
from ray_ue.storage.artifacts import Artifact

LOCAL = Resources(workers="local")
OWN: dict[str, Any] = {"method": "noise", "per": "image"}  # every image has a pattern of its own
LABELS: dict[str, Any] = {"method": "noise", "per": "group", "groups": "label"}


def write(root: Path, names: list[str], *, first: int = 0) -> None:
    for number, name in enumerate(names, first):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image_bytes(number))


def run(root: Path, **fields: Any) -> dict[str, Artifact]:
    return protect(root / "in", root / "out", resources=LOCAL, **fields)
