"""Networks that exploiters train, from images to logits, with stems for small images."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from ray_ue.models.airbench import airbench
from ray_ue.models.names import TORCHVISION
from ray_ue.models.small import BACKBONES, STEM

Block = UInt8[np.ndarray, "n h w 3"]
# (side of the images, number of classes, some training images) -> normalised images to logits.
Build = Callable[[int, int, Block], nn.Module]


def _dense(*hidden: int) -> Build:
    """A multi-layer perceptron on the flattened image; with no hidden layer, a linear classifier."""

    def build(side: int, classes: int, sample: Block) -> nn.Module:
        widths = [3 * side * side, *hidden]
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU(inplace=True))]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], classes))

    return build


def _lenet(side: int, classes: int, sample: Block) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling; the pool before its dense layers takes any side."""
    maps = [nn.Conv2d(3, 6, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    dense = [nn.Linear(400, 120), nn.ReLU(inplace=True), nn.Linear(120, 84), nn.ReLU(inplace=True), nn.Linear(84, classes)]
    return nn.Sequential(*maps, nn.AdaptiveAvgPool2d(5), nn.Flatten(), *dense)


def _on_backbone(arch: str) -> Build:
    def build(side: int, classes: int, sample: Block) -> nn.Module:
        if arch == "small" and side % 2:
            raise ValueError(f"small cuts images into patches of 2 pixels, which do not fill {side}; use an even --image-size")
        body = BACKBONES[arch](side)
        return nn.Sequential(body, nn.Linear(body.width, classes))

    return build


def _first(net: nn.Module, kind: type[nn.Module]) -> str:
    return next(name for name, part in net.named_modules() if isinstance(part, kind))


def _replace(net: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(net.get_submodule(parent), leaf, part)


def _unhurried(net: nn.Module) -> nn.Module:
    """The first convolution at stride 1 (a 7x7 one becomes 3x3), and no pooling right after it: small images have nothing to spare."""
    name = _first(net, nn.Conv2d)
    stem = net.get_submodule(name)
    assert isinstance(stem, nn.Conv2d)
    _replace(net, name, nn.Conv2d(stem.in_channels, stem.out_channels, 3, padding=1, bias=stem.bias is not None))
    return net


def _unpooled(net: nn.Module) -> nn.Module:
    _replace(net, _first(net, nn.MaxPool2d), nn.Identity())
    return _unhurried(net)


def _headed(net: nn.Module, classes: int) -> nn.Module:
    """VGG for small images ends in a global pool and one linear layer, as in its CIFAR versions."""
    _replace(net, "avgpool", nn.AdaptiveAvgPool2d(1))
    _replace(net, "classifier", nn.Linear(512, classes))
    return net


def _torchvision(arch: str) -> Build:
    def build(side: int, classes: int, sample: Block) -> nn.Module:
        from torchvision import models  # two seconds to import, which the small networks do not need

        small = side <= STEM
        if arch.startswith("vit_"):
            patch = min((part for part in range(2, side // 4) if side % part == 0), key=lambda part: abs(part - side / 8), default=0)
            patch = patch if small else 16
            if not patch or side % patch:
                known = "a multiple of 16" if not small else f"{side // 4 * 4}"
                raise ValueError(f"{arch} cuts images into square patches, of which no number fills {side} pixels; use {known}")
            if not small:
                return models.get_model(arch, weights=None, num_classes=classes, image_size=side)
            # ViT-B/16's widths; only the patches are smaller.
            return models.VisionTransformer(
                image_size=side, patch_size=patch, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072, num_classes=classes
            )
        if arch.startswith("vgg") and side < 32:
            raise ValueError(f"{arch} halves its images five times, which leaves nothing of {side} pixels; use --image-size 32 or more")
        net = models.get_model(arch, weights=None, num_classes=classes)
        if not small:
            return net
        if arch.startswith("vgg"):
            return _headed(net, classes)
        return _unpooled(net) if arch.startswith(("resnet", "densenet")) else _unhurried(net)

    return build


CLASSIFIERS: dict[str, Build] = {
    "fast": airbench,
    "small": _on_backbone("small"),
    "plain": _on_backbone("plain"),
    "linear": _dense(),
    "mlp2": _dense(512),  # MI-UE's 2-NN and 3-NN; their widths are not stated, these are ours
    "mlp3": _dense(512, 512),
    "lenet5": _lenet,
    **{arch: _torchvision(arch) for arch in TORCHVISION},
}


def classifier(arch: str, *, side: int, classes: int, sample: Block, seed: int) -> nn.Module:
    """A fresh network whose weights are a function of `seed` (and of `sample`, where it looks at one); torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLASSIFIERS[arch](side, classes, sample)


def beheaded(net: nn.Module) -> int:
    """Replace the last linear layer with an identity, in place; return the width that it took: the features'."""
    name = [name for name, part in net.named_modules() if isinstance(part, nn.Linear)][-1]
    width = net.get_submodule(name).in_features
    _replace(net, name, nn.Identity())
    return int(width)  # type: ignore[arg-type]
