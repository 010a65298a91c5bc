"""Classifiers of torchvision without their last layer, with ImageNet weights or from a file."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from ray_ue.models.heads import last_linear, remove_head
from ray_ue.models.pretrained.tower import OFFLINE, Family, Tower, Unavailable, read

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _vision(arch: str, weights: str, state: Mapping[str, Tensor]) -> Tower:
    net = torchvision.models.get_model(arch, weights=None)
    head = last_linear(net)
    remove_head(net)
    if weights.startswith("@"):
        state = read(Path(weights[1:]))
    else:
        try:
            entry = torchvision.models.get_model_weights(arch)[weights]
            state = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except OSError as error:
            hint = OFFLINE.format(kind="torchvision", arch=arch)
            raise Unavailable(f"could not fetch the weights {arch}/{weights} ({error}); {hint}") from error
    try:
        net.load_state_dict({name: value for name, value in state.items() if not name.startswith(head + ".")})
    except RuntimeError as error:
        raise ValueError(f"the file does not hold the weights of {arch}: {' '.join(str(error).split())[:160]}") from error
    return Tower(net=net, mean=IMAGENET[0], std=IMAGENET[1])


def _bare(arch: str, image_size: int) -> nn.Module:
    net = torchvision.models.get_model(arch, weights=None)
    remove_head(net)
    return net


def _vision_archs() -> list[str]:
    plain = torchvision.models.list_models(module=torchvision.models)
    return [arch for arch in plain if not arch.startswith("squeezenet")]  # its last layer is a convolution


def _vision_tags(arch: str) -> list[str]:
    return list(torchvision.models.get_model_weights(arch).__members__)


def _vision_side(arch: str, image_size: int) -> int:
    return next(iter(torchvision.models.get_model_weights(arch))).transforms().crop_size[0]


def _vision_cached() -> tuple[list[str], str]:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    cached = {path.name for path in folder.glob("*")}
    entries = [(arch, entry) for arch in _vision_archs() for entry in torchvision.models.get_model_weights(arch)]
    return [f"{arch}/{entry.name}" for arch, entry in entries if Path(entry.url).name in cached], str(folder)


FAMILY = Family(archs=_vision_archs, tags=_vision_tags, side=_vision_side, build=_vision, bare=_bare, cached=_vision_cached)
