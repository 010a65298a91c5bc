"""Victims by name: the networks that an exploiter trains, and their initial weights."""

from dataclasses import dataclass
from typing import Literal

from ray_ue.models.names import FLAT, NETS
from ray_ue.models.pretrained import specs
from ray_ue.registry import unknown

EXAMPLES = (
    "fast, fast:0.2 (its learning rate), resnet18, simclr:resnet18, moco:small, "
    "torchvision:resnet18@FILE (fine-tuned), probe:open_clip:RN50/openai"
)
CONTRASTIVE = ("simclr", "moco")


@dataclass(frozen=True, kw_only=True)
class Victim:
    """`how` it is trained: from `scratch`; `finetune` or `probe` from pretrained `weights`; `simclr` or `moco` on the images, then a
    probe. `rate` is the largest learning rate of a network that is trained from scratch; 0 leaves it to the schedule."""

    name: str
    how: Literal["scratch", "finetune", "probe", "simclr", "moco"]
    arch: str = ""
    weights: specs.Spec | None = None
    rate: float = 0.0

    def check(self) -> None:
        """Raise `ValueError` for weights that cannot be loaded, without loading them."""
        if self.weights is not None:
            specs.check(self.weights)

    def identity(self) -> dict[str, object]:
        """The fields that distinguish two victims: weights by their content, not by their path."""
        return {"how": self.how, "arch": self.arch, "weights": specs.identity(self.weights) if self.weights else ""}


def parse_victim(text: str) -> Victim:
    """Read `ARCH`, `ARCH:RATE`, `simclr:ARCH`, `moco:ARCH`, `KIND:ARCH/TAG`, `KIND:ARCH@FILE` or `probe:` before one of the last two."""
    name = text.strip()
    first, colon, rest = name.partition(":")
    if not colon:
        return Victim(name=name, how="scratch", arch=_known(first))
    if first in CONTRASTIVE:
        if rest in FLAT:
            raise ValueError(
                f"the victim {name!r} has no convolutions, as contrastive training needs; use {first}:fast or {first}:resnet18"
            )
        return Victim(name=name, how="simclr" if first == "simclr" else "moco", arch=_known(rest))
    if first in NETS:
        return Victim(name=name, how="scratch", arch=first, rate=_rate(rest, name=name))
    given = rest if first == "probe" else name
    try:
        weights = specs.parse(given)
    except ValueError:
        raise ValueError(f"the victim {name!r} cannot be parsed; write for example {EXAMPLES}") from None
    if weights.kind == "ssl":
        raise ValueError(f"the victim {name!r} names a network that is trained on the images; write simclr:{weights.arch}")
    return Victim(name=name, how="probe" if first == "probe" else "finetune", arch=weights.arch, weights=weights)


def _known(arch: str) -> str:
    if arch not in NETS:
        raise unknown(arch, NETS, what="victim")
    return arch


def _rate(text: str, *, name: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 100:
        raise ValueError(f"the victim {name!r} has no learning rate above 0 behind its colon; write for example fast:0.2")
    return rate
