"""Orthogonal projection: takes out of every image what a linear model needs to tell the labels apart. Knows pixels and labels, no poison.

Sandoval-Segura et al. 2023, "What can we learn from unlearnable datasets?", arXiv 2305.19254, and its authors' code.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from ray_ue.purify import chunks
from ray_ue.training import Block, Labels
from ray_ue.types import Rng

EPOCHS, BATCH, RATE = 20, 1024, 0.1  # the paper's; the rate falls to a tenth after a half and again after three quarters
STEPS = 49  # per epoch: what the paper's batch makes of CIFAR-10's 50,000 images
WIDTH = 3072  # the pixel values of its images


def separator(pixels: Block, labels: Labels, *, classes: int, rng: Rng) -> Float32[np.ndarray, "K p"]:
    """The weight rows of a bias-free linear model of the flattened pixels in [0, 1].

    Smaller sets get smaller batches, so that the model takes the paper's number of steps; larger images get a smaller rate, as a step
    moves the logits by the rate times the number of pixels.
    """
    width = int(np.prod(pixels.shape[1:]))
    bound = width**-0.5
    weights = torch.from_numpy(rng.uniform(-bound, bound, (classes, width)).astype(np.float32)).requires_grad_()
    batches = max(-(-len(pixels) // BATCH), min(STEPS, len(pixels)))
    for epoch in range(EPOCHS):
        rate = RATE * min(1.0, WIDTH / width) * 0.1 ** ((epoch >= EPOCHS // 2) + (epoch >= EPOCHS * 3 // 4))
        for rows in np.array_split(rng.permutation(len(pixels)), batches):
            loss = F.cross_entropy(_flat(pixels[rows]) @ weights.T, torch.from_numpy(labels[rows].astype(np.int64)))
            (slope,) = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                weights -= rate * slope
    return weights.detach().numpy()


def project(pixels: Block, rows: Float32[np.ndarray, "K p"]) -> Block:
    """Every image without its part along the weight rows, rounded and clipped to 0..255; the paper keeps floats."""
    basis, _ = np.linalg.qr(rows.T.astype(np.float64))
    basis = torch.from_numpy(basis.astype(np.float32))
    out = np.empty(pixels.shape, np.uint8)
    for part in chunks(pixels):
        flat = _flat(pixels[part])
        kept = flat - (flat @ basis) @ basis.T
        out[part] = (kept * 255).round().clamp(0, 255).to(torch.uint8).numpy().reshape(out[part].shape)
    return out


def _flat(pixels: Block) -> Tensor:
    return torch.from_numpy(np.array(pixels).reshape(len(pixels), -1)).float().div(255)
