"""Arrays as they lie in files: numpy, torch and safetensors files, and folders of PNG. Knows no unit and no layout."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from safetensors.numpy import load_file

from ray_ue.types import pick


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """RGB pictures of one size as an array [n, h, w, 3] that is read entry by entry."""

    paths: list[Path]
    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: Int[np.ndarray, " n"], /) -> np.ndarray:
        return np.stack([self._read(self.paths[row]) for row in rows.tolist()])

    def _read(self, path: Path) -> np.ndarray:
        with Image.open(path) as picture:
            if picture.mode != "RGB" or (picture.height, picture.width) != self.shape[1:3]:
                raise ValueError(
                    f"{path} is {picture.mode} of {picture.height} x {picture.width} pixels; "
                    f"like the first it should be RGB of {self.shape[1]} x {self.shape[2]}"
                )
            return np.array(picture)


Raw = np.ndarray | Pictures  # both have a shape and a dtype and give the entries asked for


def pictures(folder: Path) -> list[Path]:
    """A folder's PNG files: in the order of their numbers if every name is one, else of their names."""
    found = [path for path in folder.iterdir() if path.suffix.lower() == ".png"]
    if not found:
        raise ValueError(f"{folder} holds no PNG files; a folder of perturbations has one per entry, levels and 128")
    numbered = all(path.stem.isdecimal() for path in found)
    return sorted(found, key=lambda path: (int(path.stem), path.name) if numbered else (0, path.name))


def open_raw(path: Path, *, key: str) -> Raw:
    """The array in a file or folder; `key` names one of several. `.npy` files are mapped and PNG files read when asked for."""
    if not path.exists():
        raise ValueError(f"there is no {path}")
    if path.is_dir():
        paths = pictures(path)
        with Image.open(paths[0]) as first:
            return Pictures(paths=paths, shape=(len(paths), first.height, first.width, 3), dtype=np.dtype(np.uint8))
    return pick(READERS, path.suffix, what="format of perturbations")(path, key)


def digest(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's PNG files in their order."""
    if not path.exists():
        raise ValueError(f"there is no {path}")
    found = hashlib.sha256()
    for part in pictures(path) if path.is_dir() else [path]:
        with part.open("rb") as file:
            while block := file.read(2**20):
                found.update(block)
    return found.hexdigest()


def _npy(path: Path, key: str) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _npz(path: Path, key: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as found:
        return found[_name(found.files, key, path=path)]


def _torch(path: Path, key: str) -> np.ndarray:
    """Tensors only: whatever else a pickle may hold is refused."""
    found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, Mapping):
        tensors = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
        found = tensors[_name(list(tensors), key, path=path)]
    if not isinstance(found, torch.Tensor):
        raise ValueError(f"{path} holds a {type(found).__name__}; it should be a tensor, or a dict with one")
    found = found.detach()
    return (found.float() if found.dtype == torch.bfloat16 else found).numpy()


def _safetensors(path: Path, key: str) -> np.ndarray:
    found = load_file(path)
    return found[_name(list(found), key, path=path)]


READERS: dict[str, Callable[[Path, str], np.ndarray]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _torch,
    ".pth": _torch,
    ".safetensors": _safetensors,
}


def _name(names: list[str], key: str, *, path: Path) -> str:
    """The array called `key`, or the only one."""
    if key in names:
        return key
    if key or len(names) != 1:
        raise ValueError(f"{path} holds {', '.join(sorted(names)) or 'no array'}; name one of them as the key, got {key!r}")
    return names[0]
