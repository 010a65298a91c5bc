"""Arrays as they lie in files: numpy, torch and safetensors files, and folders of PNG."""

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ray_ue.registry import pick
from ray_ue.storage.inflation import refuse_inflation


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """RGB pictures of one size as an array [n, h, w, 3] that is read entry by entry."""

    paths: list[Path]
    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: Int[np.ndarray, " n"], /) -> np.ndarray:
        return np.stack([self._read(self.paths[row]) for row in rows.tolist()])

    def _read(self, path: Path) -> np.ndarray:
        with open_png(path) as picture:
            if picture.mode != "RGB" or (picture.height, picture.width) != self.shape[1:3]:
                raise ValueError(
                    f"{path} is {picture.mode} of {picture.height} x {picture.width} pixels; "
                    f"like the first it should be RGB of {self.shape[1]} x {self.shape[2]}"
                )
            return np.array(picture)


Raw = np.ndarray | Pictures  # both have a shape and a dtype and give the entries asked for
# All that the libraries raise on files made by others; memory, because a header may promise more than there is.
BROKEN = (UnpicklingError, SafetensorError, zipfile.BadZipFile, RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError)
BROKEN += (OverflowError, MemoryError, Warning)  # the last only where the process turns warnings into errors


def error_text(error: BaseException) -> str:
    """The libraries' words in one line, but not their advice to load a pickle all the same."""
    words = " ".join(str(error).split())[:160] or type(error).__name__
    return "it holds pickled objects" if "pickle" in words or "Weights only load failed" in words else words


@contextmanager
def naming_the_file(path: Path) -> Iterator[None]:
    """Name the file in one line if reading it fails."""
    try:
        yield
    except BROKEN as error:
        raise ValueError(f"{path} cannot be read as plain arrays: {error_text(error)}; pickled objects are never loaded") from error


@contextmanager
def open_png(path: Path) -> Iterator[Image.Image]:
    """A PNG file and nothing else: Pillow would hand a PostScript file of that name to an interpreter."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            yield picture
    except (Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is no picture that can be read: {' '.join(str(error).split())[:160]}") from error


def png_files(folder: Path) -> list[Path]:
    """A folder's PNG files: in the order of their numbers if every name is one, else of their names."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() == ".png"]
    if not paths:
        raise ValueError(f"{folder} holds no PNG files; a folder of perturbations has one per entry, levels and 128")
    numbered = all(path.stem.isdecimal() for path in paths)
    return sorted(paths, key=lambda path: (int(path.stem), path.name) if numbered else (0, path.name))


def open_raw(path: Path, *, key: str) -> Raw:
    """The array in a file or folder; `key` names one of several. `.npy` files are mapped and PNG files read when asked for."""
    if not path.exists():
        raise ValueError(f"there is no {path}")
    if path.is_dir():
        paths = png_files(path)
        with open_png(paths[0]) as first:
            return Pictures(paths=paths, shape=(len(paths), first.height, first.width, 3), dtype=np.dtype(np.uint8))
    return pick(READERS, path.suffix, what="format of perturbations")(path, key)


def digest(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's PNG files in their order."""
    if not path.exists():
        raise ValueError(f"there is no {path}")
    total = hashlib.sha256()
    for part in png_files(path) if path.is_dir() else [path]:
        with part.open("rb") as file:
            hashlib.file_digest(file, lambda: total)
    return total.hexdigest()


def _npy(path: Path, key: str) -> np.ndarray:
    with naming_the_file(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive, so its name should end in .npz")
        return array


def _npz(path: Path, key: str) -> np.ndarray:
    with naming_the_file(path):
        arrays = np.load(path, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise ValueError("it is one array, so its name should end in .npy")
    with arrays:
        name = _name(arrays.files, key, path=path)
        with naming_the_file(path), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            about = archive.getinfo(name if name in names else f"{name}.npy")
        refuse_inflation(f"{path}: {name}", stored=about.compress_size, size=about.file_size)
        with naming_the_file(path):
            return arrays[name]


def _torch(path: Path, key: str) -> np.ndarray:
    """Tensors only: all other contents of a pickle are refused."""
    with naming_the_file(path):
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(loaded, Mapping):
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
        loaded = tensors[_name(list(tensors), key, path=path)]
    if not isinstance(loaded, torch.Tensor):
        raise ValueError(f"{path} holds a {type(loaded).__name__}; it should be a tensor, or a dict with one")
    loaded = loaded.detach()
    return (loaded.float() if loaded.dtype == torch.bfloat16 else loaded).numpy()


def _safetensors(path: Path, key: str) -> np.ndarray:
    with naming_the_file(path):
        loaded = load_file(path)
    return loaded[_name(list(loaded), key, path=path)]


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
