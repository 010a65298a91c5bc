"""Backbones that were trained on the collection itself, rebuilt from their weights."""

from collections.abc import Mapping

from torch import Tensor, nn

from ray_ue.models.normalization import MEAN, STD
from ray_ue.models.pretrained.tower import Family, Tower
from ray_ue.models.small import BACKBONES, backbone


def _trained(arch: str, weights: str, state: Mapping[str, Tensor]) -> Tower:
    net = backbone(arch, image_size=0, seed=0) if not state else _shaped(arch, state)
    return Tower(net=net, mean=(MEAN,) * 3, std=(STD,) * 3)


def _shaped(arch: str, state: Mapping[str, Tensor]) -> nn.Module:
    """The backbone whose stem fits the weights: ResNet's depends on the image size that it was trained at."""
    stem = state.get("body.conv1.weight")
    net = backbone(arch, image_size=224 if stem is not None and stem.shape[-1] == 7 else 32, seed=0)
    net.load_state_dict(dict(state))
    return net


def _bare(arch: str, image_size: int) -> nn.Module:
    return backbone(arch, image_size=image_size, seed=0)


FAMILY = Family(
    archs=lambda: list(BACKBONES),
    tags=lambda arch: [],
    side=lambda arch, image_size: image_size,
    build=_trained,
    bare=_bare,
    cached=lambda: ([], ""),
)
