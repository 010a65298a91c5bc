"""The checkpoint of a cell: the state of the training, and what was measured on the way to it."""

from collections.abc import Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor

from ray_ue.engine.train_loop import CHECKPOINT
from ray_ue.storage.artifacts import Folder

CURVES = ("epoch", "accuracy", "perturbed", "loss")


def save_checkpoint(folder: Folder, state: Mapping[str, Tensor], curves: Mapping[str, list[float]], seconds: float) -> None:
    """The loop's state and, in the same file, what was measured on the way to it."""
    measured = {f"curve/{name}": torch.tensor(values, dtype=torch.float64) for name, values in curves.items()}
    kept = {f"state/{name}": value.contiguous() for name, value in state.items()}
    folder.write(CHECKPOINT, save({**kept, **measured, "seconds": torch.tensor(seconds, dtype=torch.float64)}))


def load_checkpoint(folder: Folder) -> tuple[dict[str, Tensor], dict[str, list[float]], float]:
    """(state, curves, seconds) of the last checkpoint; all empty before the first."""
    if not folder.exists(CHECKPOINT):
        return {}, {name: [] for name in CURVES}, 0.0
    tensors = load(folder.read(CHECKPOINT))
    state = {name.removeprefix("state/"): value for name, value in tensors.items() if name.startswith("state/")}
    return state, {name: tensors[f"curve/{name}"].tolist() for name in CURVES}, float(tensors["seconds"])
