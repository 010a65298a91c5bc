"""How pictures change colour before a network sees them: one draw per picture, differentiable in the pixels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
JITTER, HUE = 0.4, 0.1  # MoCo v2's; SimCLR's at half strength
MIDDLE, SPREAD = 0.5, 0.2  # of a normalised channel: 2.5 standard deviations reach black and white
LEAST = 1 / 255  # standard deviation of a channel that is worth normalising

Images = Float[Tensor, "B 3 h w"]
Factors = Float[Tensor, "B 1 1 1"]


def luma_weights(images: Images) -> Float[Tensor, "1 3 1 1"]:
    """The weights of `LUMA` beside `images`."""
    return torch.tensor(LUMA).to(images)[None, :, None, None]


def jitter(images: Images, *, bright: Factors, contrast: Factors, colour: Factors, angle: Float[Tensor, " B"]) -> Images:
    """[0, 1] images with their brightness, contrast and saturation multiplied, in this order, and their hue turned by `angle` radians.

    ColorJitter of SimCLR (Chen et al. 2020, arXiv 2002.05709) and torchvision, with one draw per image. torchvision takes the four in a
    random order and shifts the hue in HSV; here the order is fixed and the hue turns about the grey axis.
    """
    luma = luma_weights(images)
    changed = (images * bright).clamp(0, 1)
    changed = torch.lerp((changed * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True), changed, contrast).clamp(0, 1)
    grey = (changed * luma).sum(1, keepdim=True)
    turned = torch.einsum("bij,bjhw->bihw", hue_rotations(angle), (changed - grey) * colour)
    return (grey + turned).clamp(0, 1)


def hue_rotations(angle: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
    """Rotations of RGB about the grey axis (Rodrigues): a hue shift that needs no branches."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    axis = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) / math.sqrt(3)
    return cos * torch.eye(3, device=angle.device) + (1 - cos) / 3 + sin * axis


def normalise_channels(images: Images) -> Images:
    """Every channel of every [0, 1] image shifted and scaled to the mean `MIDDLE` and the standard deviation `SPREAD`, cut off to [0, 1].

    Instance normalisation (Ulyanov et al. 2016, arXiv 1607.08022) of the input.
    """
    mean, own = images.mean((2, 3), keepdim=True), images.std((2, 3), keepdim=True, correction=0)
    return ((images - mean) / own.clamp(min=LEAST) * SPREAD + MIDDLE).clamp(0, 1)
