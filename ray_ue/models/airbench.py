"""The fast victim: airbench's idea (Jordan 2024) at a size for CPUs, a frozen whitening of patches under three convolutions."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

PATCH, STRIDE, KEPT = 4, 2, 24  # of 48 directions; each enters with both signs
WIDTHS = (48, 96, 192)
LEAST = 5e-4  # airbench's floor of the variance; a direction below it has no content in these images and is not amplified
SAMPLE, SEEN = 1000, 200_000
MEAN, STD = 0.5, 0.25


def whitening_filters(sample: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "K 3 4 4"]:
    """The principal directions of the images' patches, each scaled to unit variance; zero for one without content.

    Grey images have no content in colour: a filter that amplified their rounding would dominate the features of a colour photograph.
    """
    images = torch.from_numpy(np.array(sample[:SAMPLE])).permute(0, 3, 1, 2).float().div(255).sub(MEAN).div(STD)
    patches = F.unfold(images, PATCH, stride=STRIDE).transpose(1, 2).reshape(-1, 3 * PATCH * PATCH)[:SEEN].double()
    values, vectors = torch.linalg.eigh(torch.cov((patches - patches.mean(0)).T))
    scaled = torch.where(values[:, None] > LEAST, vectors.T / (values[:, None] + LEAST).sqrt(), 0)
    return scaled.flip(0)[:KEPT].reshape(KEPT, 3, PATCH, PATCH).float()


def _block(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(outside), nn.GELU())


class AirbenchNet(nn.Module):
    """Normalised images -> logits."""

    def __init__(self, eyes: Float[Tensor, "K 3 4 4"], *, classes: int) -> None:
        super().__init__()
        self.eyes = nn.Conv2d(3, 2 * len(eyes), PATCH, stride=STRIDE, padding=1, bias=False)
        self.eyes.weight.data = torch.cat([eyes, -eyes])
        self.eyes.weight.requires_grad_(False)
        widths = (2 * len(eyes), *WIDTHS)
        self.body = nn.Sequential(*(_block(a, b) for a, b in pairwise(widths)))
        self.head = nn.Linear(WIDTHS[-1], classes, bias=False)

    def forward(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B classes"]:
        return self.head(self.body(F.gelu(self.eyes(images))).amax((2, 3))) / 9  # airbench's scale


def airbench(side: int, classes: int, sample: UInt8[np.ndarray, "n h w 3"]) -> nn.Module:
    return AirbenchNet(whitening_filters(sample), classes=classes)
