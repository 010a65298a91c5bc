"""Backbones that were trained on the collection itself, rebuilt from their weights."""

from collections.abc import Mapping

from torch import Tensor

from ray_ue.models.normalization import MEAN, STD
from ray_ue.models.pretrained.tower import Family, Tower
from ray_ue.models.small import BACKBONES, backbone


def _load(arch: str, weights: str, state: Mapping[str, Tensor]) -> Tower:
    """The backbone whose stem fits the weights: ResNet's depends on the image size that it was trained at."""
    stem = state.get("body.conv1.weight")
    net = backbone(arch, image_size=224 if stem is not None and stem.shape[-1] == 7 else 32, seed=0)
    net.load_state_dict(dict(state))
    return Tower(net=net, mean=(MEAN,) * 3, std=(STD,) * 3)


FAMILY = Family(
    archs=lambda: list(BACKBONES),
    tags=lambda arch: [],
    side=lambda arch, image_size: image_size,
    build=_load,
    bare=lambda arch, image_size: backbone(arch, image_size=image_size, seed=0),
    cached=lambda: ([], ""),
)
