"""Victims by name: what an exploiter trains, and from what. Knows no tensors: networks are built elsewhere, when they are asked for."""

from dataclasses import dataclass
from typing import Literal

from ray_ue import specs
from ray_ue.types import unknown

# In order of cost. A test holds this list and the builders of nets/classifiers.py equal.
SMALL = ("linear", "mlp2", "mlp3", "lenet5", "fast", "small", "plain")
TORCHVISION = (
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_b1",
    "mobilenet_v2",
    "regnet_x_1_6gf",
    "vgg11_bn",
    "vgg19_bn",
    "vit_b_16",
)
NETS = (*SMALL, *TORCHVISION)
FLAT = ("linear", "mlp2", "mlp3")  # see no neighbourhoods, so contrastive views teach them nothing
UNNORMALISED = (*FLAT, "lenet5", "vit_b_16")  # without batch norm the fast schedule's rate is ten times too high for them
EXAMPLES = "fast, resnet18, simclr:resnet18, moco:small, torchvision:resnet18@FILE (fine-tuned), probe:open_clip:RN50/openai"
CONTRASTIVE = ("simclr", "moco")


@dataclass(frozen=True, kw_only=True)
class Victim:
    """`how` it learns: from `scratch`; `finetune` or `probe` from the given `weights`; `simclr` or `moco` on the images, then a probe."""

    name: str
    how: Literal["scratch", "finetune", "probe", "simclr", "moco"]
    arch: str = ""
    weights: specs.Spec | None = None

    def check(self) -> None:
        """Refuse, without loading anything, what cannot be loaded."""
        if self.weights is not None:
            specs.check(self.weights)

    def identity(self) -> dict[str, object]:
        """What tells two victims apart: weights by their content, never by their path."""
        return {"how": self.how, "arch": self.arch, "weights": specs.identity(self.weights) if self.weights else ""}


def parse(text: str) -> Victim:
    """Read `ARCH`, `simclr:ARCH`, `moco:ARCH`, `KIND:ARCH/TAG`, `KIND:ARCH@FILE` or `probe:` before one of the last two."""
    name = text.strip()
    first, colon, rest = name.partition(":")
    if not colon:
        return Victim(name=name, how="scratch", arch=_known(first))
    if first in CONTRASTIVE:
        if rest in FLAT:
            raise ValueError(f"the victim {name!r} has no convolutions to learn from views with; try {first}:fast or {first}:resnet18")
        return Victim(name=name, how="simclr" if first == "simclr" else "moco", arch=_known(rest))
    given = rest if first == "probe" else name
    try:
        weights = specs.parse(given)
    except ValueError:
        raise ValueError(f"the victim {name!r} is not understood; write for example {EXAMPLES}") from None
    if weights.kind == "ssl":
        raise ValueError(f"the victim {name!r} would be trained on the images: write simclr:{weights.arch} for that")
    return Victim(name=name, how="probe" if first == "probe" else "finetune", arch=weights.arch, weights=weights)


def _known(arch: str) -> str:
    if arch not in NETS:
        raise unknown(arch, NETS, what="victim")
    return arch
