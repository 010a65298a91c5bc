"""A small U-Net from images to images of the same size: the generator of GUE."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def _block(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """Images in [0, 1] -> values from -1 to 1 (Ronneberger et al. 2015), two levels deep; sides that 4 does not divide are padded."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.first, self.second, self.third = _block(3, width), _block(width, 2 * width), _block(2 * width, 4 * width)
        self.up, self.last = _block(6 * width, 2 * width), _block(3 * width, width)
        self.out = nn.Conv2d(width, 3, 1)

    def forward(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
        high, wide = images.shape[2:]
        padded = F.pad(images, (0, -wide % 4, 0, -high % 4), mode="replicate")
        one = self.first(padded * 2 - 1)
        two = self.second(F.max_pool2d(one, 2))
        three = self.third(F.max_pool2d(two, 2))
        back = self.up(torch.cat([F.interpolate(three, scale_factor=2), two], 1))
        back = self.last(torch.cat([F.interpolate(back, scale_factor=2), one], 1))
        return self.out(back).tanh()[:, :, :high, :wide]
