"""The UC paper's residual generator as a pure function of one flat weight vector."""

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

BLOCKS = 6


def _norm(width: int) -> list[nn.Module]:
    # no running statistics: the one latent is normalised by its own, when training and when saving alike
    return [nn.BatchNorm2d(width, track_running_stats=False), nn.ReLU()]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=False),
            *_norm(width),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=False),
            nn.BatchNorm2d(width, track_running_stats=False),
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.body(x)


def network(width: int = 64) -> nn.Sequential:
    """Latent [B, 3, H, W] -> tanh output of the same shape; H and W must be multiples of 4. 7,841,411 parameters at width 64."""
    w = width
    return nn.Sequential(
        *(nn.ReflectionPad2d(3), nn.Conv2d(3, w, 7, bias=False), *_norm(w)),
        *(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1, bias=False), *_norm(2 * w)),
        *(nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1, bias=False), *_norm(4 * w)),
        *(_Residual(4 * w) for _ in range(BLOCKS)),
        *(nn.ConvTranspose2d(4 * w, 2 * w, 3, stride=2, padding=1, output_padding=1, bias=False), *_norm(2 * w)),
        *(nn.ConvTranspose2d(2 * w, w, 3, stride=2, padding=1, output_padding=1, bias=False), *_norm(w)),
        *(nn.ReflectionPad2d(3), nn.Conv2d(w, 3, 7), nn.Tanh()),
    )


@cache
def _skeleton() -> nn.Sequential:
    with torch.device("meta"):
        return network()


def size() -> int:
    """How many weights one generator has."""
    return sum(p.numel() for p in _skeleton().parameters())


def weights(rng: torch.Generator) -> Float[Tensor, " P"]:
    """A fresh generator's weights, drawn as torch draws them by default: uniform within 1/sqrt(fan-in), norms at one and zero."""
    parts, bound = [], 0.0
    for name, slot in _skeleton().named_parameters():
        if slot.dim() > 1:
            bound = 1 / math.sqrt(slot[0].numel())
        if slot.dim() == 1 and slot.numel() != 3:  # batch norm: every bias but the last convolution's
            parts.append(torch.full(slot.shape, float(name.endswith("weight"))))
        else:
            parts.append((2 * torch.rand(slot.shape, generator=rng) - 1) * bound)
    return torch.cat([part.flatten() for part in parts])


def generate(flat: Float[Tensor, " P"], latent: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
    """The generator with weights `flat` on one latent: values in [-1, 1]."""
    named = dict(_skeleton().named_parameters())
    parts = flat.split([slot.numel() for slot in named.values()])
    table = {name: part.view(slot.shape) for (name, slot), part in zip(named.items(), parts, strict=True)}
    return functional_call(_skeleton(), table, (latent[None],))[0]
