"""Networks that exploiters train, from images to logits, with stems for small images."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8
from torch import nn

from ray_ue.loop import seeded_weights
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


def _without_stem_stride(net: nn.Module) -> nn.Module:
    """The first convolution at stride 1 (a 7x7 one becomes 3x3): small images have nothing to spare."""
    name = _first(net, nn.Conv2d)
    stem = net.get_submodule(name)
    assert isinstance(stem, nn.Conv2d)
    net.set_submodule(name, nn.Conv2d(stem.in_channels, stem.out_channels, 3, padding=1, bias=stem.bias is not None))
    return net


def _without_stem_pooling(net: nn.Module) -> nn.Module:
    net.set_submodule(_first(net, nn.MaxPool2d), nn.Identity())
    return net


def _with_pooled_head(net: nn.Module, classes: int) -> nn.Module:
    """VGG for small images ends in a global pool and one linear layer, as in its CIFAR versions."""
    net.set_submodule("avgpool", nn.AdaptiveAvgPool2d(1))
    net.set_submodule("classifier", nn.Linear(512, classes))
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
            return _with_pooled_head(net, classes)
        if arch.startswith(("resnet", "densenet")):
            net = _without_stem_pooling(net)
        return _without_stem_stride(net)

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
    with seeded_weights(seed):
        return CLASSIFIERS[arch](side, classes, sample)
