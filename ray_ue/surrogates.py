"""Surrogates: the frozen networks that perturbations are crafted against, by name. Knows images and features, nothing of slots."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ray_ue.nets.small import Backbone, backbone
from ray_ue.nets.towers import FAMILIES, SUFFIXES, family
from ray_ue.types import Features, Images

EXAMPLES = "open_clip:RN50/openai, open_clip:RN50@/path/to/weights.pt, torchvision:resnet50, ssl:small or ssl:resnet18"
UNTAGGED = {"torchvision": "IMAGENET1K_V1"}  # the UC paper's supervised surrogate


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A surrogate's name, taken apart: `weights` is a tag, "@" and a file path, or "" for one trained on the collection."""

    kind: str
    arch: str
    weights: str

    @property
    def file(self) -> Path:
        """Where the weights lie; only for a spec that names a file."""
        assert self.weights.startswith("@")
        return Path(self.weights[1:])

    def __str__(self) -> str:
        between = "" if not self.weights or self.weights.startswith("@") else "/"
        return f"{self.kind}:{self.arch}{between}{self.weights}"


def parse(text: str) -> Spec:
    """Read `kind:arch/tag`, `kind:arch@file` or `kind:arch`."""
    kind, colon, rest = text.strip().partition(":")
    if not colon or not rest or kind not in FAMILIES:
        raise ValueError(f"the surrogate {text!r} is not understood; write {EXAMPLES}")
    arch, at, path = rest.partition("@")
    if at:
        weights = f"@{path}"
    else:
        arch, _, tag = rest.partition("/")
        weights = tag or UNTAGGED.get(kind, "")
    if (kind == "ssl") != (not weights) or not arch or weights == "@":
        reason = "is trained on the images and takes no weights" if kind == "ssl" else "needs weights"
        raise ValueError(f"the surrogate {text!r} {reason}; write {EXAMPLES}")
    return Spec(kind=kind, arch=arch, weights=weights)


def check(spec: Spec) -> None:
    """Refuse, without loading anything, what cannot be loaded."""
    library = family(spec.kind)
    if spec.arch not in (archs := library.archs()):
        near = get_close_matches(spec.arch, archs, n=3, cutoff=0.0)
        raise ValueError(f"{spec.kind} has no architecture {spec.arch!r}; the nearest names are {', '.join(near)}")
    if spec.weights.startswith("@"):
        _check_file(spec)
    elif spec.weights and spec.weights not in (tags := library.tags(spec.arch)):
        raise ValueError(f"{spec.kind}:{spec.arch} has no weights {spec.weights!r}; there are {', '.join(tags) or 'none: give a file'}")


def _check_file(spec: Spec) -> None:
    if spec.file.suffix not in SUFFIXES:
        raise ValueError(f"the weights file {spec.file} must end in one of {', '.join(SUFFIXES)}")
    if not spec.file.is_file():
        raise ValueError(f"there is no weights file {spec.file}; every node that runs a surrogate must see it under this path")
    try:
        with spec.file.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"the weights file {spec.file} cannot be read: {error.strerror}") from error


def identity(spec: Spec) -> dict[str, str]:
    """What tells two surrogates apart: for a file its content, never its path."""
    if not spec.weights.startswith("@"):
        return {"kind": spec.kind, "arch": spec.arch, "weights": spec.weights}
    with spec.file.open("rb") as file:
        return {"kind": spec.kind, "arch": spec.arch, "weights": f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"}


def geometry(spec: Spec, *, image_size: int) -> tuple[int, int]:
    """(canvas, size): the side of a stored view and of the network's input; 256 and 224 in the UC paper.

    A surrogate trained on the collection takes its views whole, at `image_size`.
    """
    size = family(spec.kind).side(spec.arch, image_size)
    return (size, size) if spec.kind == "ssl" else (round(size * 256 / 224), size)


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
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=images.is_cuda):
            return self.net(normal).float()


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


def ssl_net(arch: str, *, image_size: int, seed: int) -> Backbone:
    """A fresh network to be trained on the collection, as a function of `seed`."""
    return backbone(arch, image_size=image_size, seed=seed)


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
