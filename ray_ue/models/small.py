"""Backbones for small images and the seed-pure way to build one."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from ray_ue.loop import seeded_weights
from ray_ue.models.heads import fresh_head
from ray_ue.registry import pick

STEM = 64  # images up to this side lose too much in ResNet's stride-4 stem


class Backbone(nn.Module):
    """Normalised images -> features of `width`, after a ReLU and a global average pool."""

    def __init__(self, body: nn.Module, *, width: int) -> None:
        super().__init__()
        self.body = body
        self.width = width

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        return self.body(images)


def _convolve(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


def _pooled() -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def _small(image_size: int) -> Backbone:
    """2x2 patches as channels, then three convolutions: 378 thousand weights, the fastest here to learn from on a CPU."""
    steps = [nn.PixelUnshuffle(2), _convolve(12, 64), nn.MaxPool2d(2), _convolve(64, 128), nn.MaxPool2d(2), _convolve(128, 256)]
    return Backbone(nn.Sequential(*steps, *_pooled()), width=256)


def _plain(image_size: int) -> Backbone:
    """Four convolutions from full resolution down: 388 thousand weights; a victim whose stem is unlike `small`'s."""
    steps = [_convolve(3, 32), nn.MaxPool2d(2), _convolve(32, 64), nn.MaxPool2d(2), _convolve(64, 128), nn.MaxPool2d(2)]
    return Backbone(nn.Sequential(*steps, _convolve(128, 256), *_pooled()), width=256)


def _resnet18(image_size: int) -> Backbone:
    from torchvision.models import resnet18  # two seconds to import, which the small networks do not need

    body = resnet18(weights=None)
    body.fc = nn.Identity()  # type: ignore[assignment]
    if image_size <= STEM:
        body.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        body.maxpool = nn.Identity()  # type: ignore[assignment]
    return Backbone(body, width=512)


BACKBONES: dict[str, Callable[[int], Backbone]] = {"small": _small, "plain": _plain, "resnet18": _resnet18}


def backbone(arch: str, *, image_size: int, seed: int) -> Backbone:
    """A fresh backbone whose weights are a function of `seed` alone; torch's global generator is left as it was."""
    build = pick(BACKBONES, arch, what="small backbone")
    with seeded_weights(seed):
        return build(image_size)


def classifier(arch: str, *, image_size: int, classes: int, seed: int) -> nn.Sequential:
    """A fresh backbone with one linear layer on top."""
    body = backbone(arch, image_size=image_size, seed=seed)
    return nn.Sequential(body, fresh_head(body.width, classes, seed=seed + 1))
