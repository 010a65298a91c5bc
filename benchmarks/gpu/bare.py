"""Bare loops: what a device can do at best with a network, on resident tensors, without data, augmentation, defenses or bookkeeping."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ray_ue.models.precision import autocast

LR = 0.01


def resident(batch: int, *, side: int, device: torch.device) -> Tensor:
    images = torch.rand((batch, 3, side, side), device=device)
    return images.contiguous(memory_format=torch.channels_last)


def training_step(net: nn.Module, *, batch: int, side: int, classes: int, device: torch.device, compiled: bool) -> Callable[[], None]:
    """One step of SGD with momentum on one resident batch, compiled if that can be; the network is trained in place."""
    net = net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    run = torch.compile(net) if compiled else net
    images, labels = resident(batch, side=side, device=device), torch.randint(classes, (batch,), device=device)
    optimiser = torch.optim.SGD([value for value in net.parameters() if value.requires_grad], lr=LR, momentum=0.9, nesterov=True)

    def step() -> None:
        with autocast(device):
            logits = run(images)
        optimiser.zero_grad()
        F.cross_entropy(logits.float(), labels).backward()
        optimiser.step()

    return step


def slope_step(features: Callable[[Tensor], Tensor], *, batch: int, side: int, device: torch.device) -> Callable[[], None]:
    """The slope of a frozen network's features with respect to one resident batch, without which no crafting can do."""
    images = resident(batch, side=side, device=device)

    def step() -> None:
        moved = images.clone().requires_grad_()
        torch.autograd.grad(features(moved).sum(), moved)

    return step


Step = Callable[[], None]


def fastest(make: Callable[[bool], Step], measure: Callable[[Step], float], *, compiling: bool) -> tuple[float, str]:
    """The faster of a compiled loop and one that is not, and which it was; the second alone where nothing can be compiled."""
    plain = measure(make(False))
    if not compiling:
        return plain, "not compiled"
    try:
        compiled = measure(make(True))
    except (RuntimeError, OSError) as error:
        return plain, f"not compiled: {type(error).__name__}"
    return max((plain, "not compiled"), (compiled, "compiled"))
