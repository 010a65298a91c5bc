"""A residual generator from images and a vector for each to images of the same size: the generator of 14A."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

HALVINGS = 3


def _conv(inside: int, outside: int, side: int, *, stride: int = 1) -> nn.Sequential:
    # edges repeat, so that the smallest images work too; the authors mirror some and leave others black
    conv = nn.Conv2d(inside, outside, side, stride=stride, padding=side // 2, padding_mode="replicate", bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside))


class _ConditionalResidual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width, 3), nn.ReLU(inplace=True), _conv(width, width, 3))

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return x + self.body(x)


class ConditionalGenerator(nn.Module):
    """Images in [0, 1] and vectors of `given` numbers -> values from -1 to 1; sides that 8 does not divide are padded.

    The shape of One for All's (Chen et al. 2024): three halvings to 8 x `width` channels, where the vector joins every place, then
    `blocks` residual blocks and three doublings. 121 million weights at the authors' width 64, 24 blocks and 512 numbers.
    """

    def __init__(self, *, width: int, blocks: int, given: int) -> None:
        super().__init__()
        wide = width * 2**HALVINGS
        widths = [width * 2**i for i in range(HALVINGS + 1)]
        down = [_conv(3, width, 7), *(_conv(one, 2 * one, 3, stride=2) for one in widths[:-1])]
        self.down = nn.Sequential(*(part for conv in down for part in (conv, nn.ReLU(inplace=True))))
        self.join = nn.Sequential(_conv(wide + given, wide, 3), nn.ReLU(inplace=True))
        self.middle = nn.Sequential(*(_ConditionalResidual(wide) for _ in range(blocks)))
        self.up = nn.Sequential(*(part for one in reversed(widths[1:]) for part in _double(one)))
        self.out = nn.Conv2d(width, 3, 7, padding=3, padding_mode="replicate")

    def forward(self, images: Float[Tensor, "B 3 h w"], vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B 3 h w"]:
        high, wide = images.shape[2:]
        condition = self.down(F.pad(images, (0, -wide % 2**HALVINGS, 0, -high % 2**HALVINGS), mode="replicate"))
        everywhere = vectors[:, :, None, None].expand(-1, -1, *condition.shape[2:])
        hidden = self.up(self.middle(self.join(torch.cat([condition, everywhere], 1))))
        return self.out(hidden).tanh()[:, :, :high, :wide]


def _double(width: int) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1, bias=False)
    return [conv, nn.BatchNorm2d(width // 2), nn.ReLU(inplace=True)]
