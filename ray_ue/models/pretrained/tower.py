"""What an image tower cut before its last layer is, and which libraries have some; each library is imported when it is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

# What the loaders raise on files made by others; a warning only where the process turns those into errors.
BROKEN = (RuntimeError, UnpicklingError, SafetensorError, OSError, EOFError, KeyError, TypeError, ValueError, Warning)
OFFLINE = "give a downloaded file ({kind}:{arch}@/path/to/weights) or train a surrogate on the images themselves (ssl:small, ssl:resnet18)"


class Unavailable(ValueError):
    """Weights that are not to be had on this machine now, and may be the next time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tower:
    """A network from normalised images to raw features, and the pixel normalisation that it was trained with."""

    net: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One library: its architectures, an architecture's weight tags and input side, and its builder (arch, weights, state) -> Tower.

    `bare` is an architecture with random weights, which tells its speed before any weights are there. `cached` names the `ARCH/TAG`
    whose weights lie on this disk already, and where the library looks for them.
    """

    archs: Callable[[], list[str]]
    tags: Callable[[str], list[str]]
    side: Callable[[str, int], int]
    build: Callable[[str, str, Mapping[str, Tensor]], Tower]
    bare: Callable[[str, int], nn.Module]
    cached: Callable[[], tuple[list[str], str]]


def read(path: Path) -> dict[str, Tensor]:
    """A weights file as a flat dict; nothing in the file is ever executed."""
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
        tensors = content.get("state_dict", content) if isinstance(content, dict) else content
        if not isinstance(tensors, dict):
            raise TypeError(f"it holds a {type(tensors).__name__}")
    except BROKEN as error:
        words = " ".join(str(error).split())[:80] or type(error).__name__
        if "pickle" in words or "Weights only load failed" in words:
            words = "it holds pickled objects"  # and not the library's advice to load them all the same
        raise ValueError(
            f"{path.name} is not a plain dict of tensors ({words}); "
            "TorchScript and pickled models are not loaded: save its state_dict as safetensors"
        ) from error
    return tensors


def refuse_unreachable(url: str, *, what: str, hint: str) -> None:
    """`Unavailable`, with `hint`, if nobody answers at `url`: the libraries would retry for a minute."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=10).close()
    except HTTPError:
        pass  # somebody answered: the library knows the other names of the file
    except OSError as error:
        raise Unavailable(f"could not fetch the weights {what} ({error}); {hint}") from error
