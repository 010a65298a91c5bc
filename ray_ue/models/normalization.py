"""From uint8 pixels to what a network of ours takes."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

MEAN, STD = 0.5, 0.25  # the UC victims' centring; a quarter is closer to the spread of photographs than their half


def floats(pixels: UInt8[np.ndarray, "B h w 3"], *, device: torch.device) -> Float[Tensor, "B 3 h w"]:
    """uint8 rows as [0, 1] images on the device, channels last in memory."""
    return torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).float().div(255)
