"""Surrogates: the frozen networks that perturbations are crafted against."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ray_ue.models.precision import autocast
from ray_ue.models.pretrained.specs import EXAMPLES, Spec, check, family, geometry

Images = Float[Tensor, "B 3 H W"]
Features = Float[Tensor, "B D"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogate:
    """A frozen network in evaluation mode; `features` is the only thing that anyone asks of it."""

    name: str
    net: nn.Module
    mean: Float[Tensor, "1 3 1 1"]
    std: Float[Tensor, "1 3 1 1"]
    size: int
    canvas: int
    width: int

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def features(self, images: Images) -> Features:
        """Raw features (before any classifier and any L2 normalisation) in fp32 of images in [0, 1], differentiable.

        Images at the canvas or any other size are scaled by their shorter side to the canvas and cropped in the centre.
        """
        normal = ((fit(images, canvas=self.canvas, size=self.size) - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with autocast(images.device):
            return self.net(normal).float()


def blank(side: int, *, device: torch.device) -> Surrogate:
    """No surrogate: all that it says is at which size images are seen, and where."""
    zero = torch.zeros((1, 3, 1, 1), device=device)
    return Surrogate(name="none", net=nn.Identity(), mean=zero, std=zero, size=side, canvas=side, width=0)


def fit(images: Images, *, canvas: int, size: int) -> Float[Tensor, "B 3 size size"]:
    """Scale the shorter side to the canvas unless the images already have the network's size, then crop the centre."""
    high, wide = images.shape[2:]
    if high == wide == size:
        return images
    if min(high, wide) != canvas:
        scale = canvas / min(high, wide)
        target = [max(canvas, round(high * scale)), max(canvas, round(wide * scale))]
        images = F.interpolate(images, target, mode="bilinear", antialias=True)
        high, wide = target
    top, left = (high - size) // 2, (wide - size) // 2
    return images[:, :, top : top + size, left : left + size]


def load(spec: Spec, *, device: torch.device, image_size: int, weights: Mapping[str, Tensor]) -> Surrogate:
    """Build a surrogate; `weights` is the trained state dict of an `ssl` one and empty for all others."""
    if (spec.kind == "ssl") != bool(weights):
        raise ValueError(f"{spec} needs {'its trained weights' if spec.kind == 'ssl' else 'no trained weights'}")
    check(spec)
    tower = family(spec.kind).build(spec.arch, spec.weights, weights)
    net = tower.net.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    canvas, size = geometry(spec, image_size=image_size)
    with torch.no_grad():
        probe = net(torch.zeros((1, 3, size, size), device=device))
    if not isinstance(probe, Tensor) or probe.dim() != 2:
        raise ValueError(f"{spec} does not give one vector per image; choose an architecture with pooled features, such as {EXAMPLES}")
    mean, std = (torch.tensor(value, device=device)[None, :, None, None] for value in (tower.mean, tower.std))
    return Surrogate(name=str(spec), net=net, mean=mean, std=std, size=size, canvas=canvas, width=probe.shape[1])
