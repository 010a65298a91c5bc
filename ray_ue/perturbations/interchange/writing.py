"""An additive poison's entries in the formats that others read."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

from ray_ue.perturbations import Additive, Poison, Streamed
from ray_ue.perturbations.interchange.reading import ZERO
from ray_ue.registry import pick
from ray_ue.storage.mapped import new_mapped

Unit = Literal["levels", "fraction"]

# Formats that need the whole bank in memory.
WRITERS: dict[str, Callable[[np.ndarray, Path], None]] = {
    ".npz": lambda whole, path: np.savez_compressed(path, delta=whole),
    ".pt": lambda whole, path: torch.save(torch.from_numpy(whole), path),
    ".safetensors": lambda whole, path: save_file({"delta": whole}, path),
}


def write(poison: Poison, path: Path, *, unit: Unit) -> None:
    """Write an additive poison's entries as [slots, 3, side, side], in the format that the name of `path` ends in, or as a folder of PNG.

    "levels" are int8, "fraction" are float32 of 255ths. PNG files are numbered by slot and hold levels and 128. Only `.npy` and PNG
    need no memory for the whole bank.
    """
    if not isinstance(poison, Additive | Streamed):
        raise ValueError(f"a {poison.kind} poison changes every image in another way; only an additive one can be written as perturbations")
    if not path.suffix:
        if unit != "levels":
            raise ValueError("PNG files hold whole levels; take unit levels, or a name that ends in .npy, .npz, .pt or .safetensors")
        _write_pictures(poison, path)
        return
    save = pick(WRITERS | {".npy": None}, path.suffix, what="format of perturbations")
    shape, dtype = (poison.slots, 3, poison.side, poison.side), np.int8 if unit == "levels" else np.float32
    whole = np.empty(shape, dtype) if save else new_mapped(path, dtype=dtype, shape=shape)
    begin = 0
    for block in poison.blocks():
        whole[begin : begin + len(block)] = block if unit == "levels" else block.astype(np.float32) / 255
        begin += len(block)
    if save:
        save(whole, path)
    if isinstance(whole, np.memmap):
        whole.flush()


def _write_pictures(poison: Additive | Streamed, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    slot, digits = 0, len(str(poison.slots - 1))
    for block in poison.blocks():
        for entry in block:
            picture = (entry.astype(np.int16) + ZERO).astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{slot:0{digits}d}.png")
            slot += 1
