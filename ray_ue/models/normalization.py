"""From uint8 pixels to what a network of ours takes."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

MEAN, STD = 0.5, 0.25  # the UC victims' centring; a quarter is closer to the spread of photographs than their half


def normalise(images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
    """[0, 1] images as the networks of this package take them, channels last in memory."""
    return ((images - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def floats(pixels: UInt8[np.ndarray, "B h w 3"], *, device: torch.device) -> Float[Tensor, "B 3 h w"]:
    """uint8 rows as [0, 1] images on the device, channels last in memory."""
    return scaled(torch.from_numpy(np.array(pixels)).to(device))


def scaled(pixels: UInt8[Tensor, "B h w 3"]) -> Float[Tensor, "B 3 h w"]:
    """uint8 rows of a device as [0, 1] images there, channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float().div(255)
