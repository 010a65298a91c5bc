"""Projected sign-gradient steps on perturbations: downhill for a poison, uphill for an adversary."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ray_ue.perturbations.budget import Budget

Images = Float[Tensor, "B 3 h w"]
Objective = Callable[[Images], Float[Tensor, ""]]  # perturbed images, which may leave [0, 1] by rounding only -> one number


def gradient_signs(images: Images, deltas: Images, *, loss: Objective) -> Images:
    """The sign of the loss's slope at `images + deltas`: all that these methods use of it, so the loss's scale does not matter."""
    moved = deltas.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(loss(images + moved), moved)
    return slope.sign()


def project(images: Images, deltas: Images, *, budget: Budget) -> Images:
    """The deltas within the budget, and so that the images stay in [0, 1]."""
    return (images + budget.project(deltas)).clamp(0, 1) - images


def ascend(images: Images, *, loss: Objective, steps: int, rate: float, radius: float, start: Images) -> Images:
    """Adversarial images within `radius` of the given ones, from `start`: what a robust model is trained on."""
    deltas = start
    for _ in range(steps):
        moved = deltas + rate * gradient_signs(images, deltas, loss=loss)
        deltas = (images + moved.clamp(-radius, radius)).clamp(0, 1) - images
    return (images + deltas).detach()
