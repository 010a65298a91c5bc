"""The main blocks of each architecture, by module name, whose outputs are features besides the last layer."""

import re

from torch import nn

# architecture (its beginning) -> the kind of module, and how the end of its name looks
BLOCKS: dict[str, tuple[type[nn.Module], str]] = {
    "mlp": (nn.ReLU, r"\d+"),
    "lenet5": (nn.MaxPool2d, r"\d+"),
    "fast": (nn.Sequential, r"body\.\d+"),
    "small": (nn.Sequential, r"body\.\d+"),
    "plain": (nn.Sequential, r"body\.\d+"),
    "resnet": (nn.Sequential, r"layer\d"),
    "densenet": (nn.Module, r"denseblock\d"),
    "efficientnet": (nn.Module, r"features\.\d+"),
    "mobilenet": (nn.Module, r"features\.\d+"),
    "regnet": (nn.Module, r"trunk_output\.block\d"),
    "vgg": (nn.MaxPool2d, r"features\.\d+"),
    "vit": (nn.Module, r"encoder_layer_\d+"),
}


def blocks(net: nn.Module, arch: str) -> dict[str, str]:
    """`block1`, `block2`, … -> module names, from the image on; empty for a linear network and for one that is not listed here."""
    kind, ending = next((matched for start, matched in BLOCKS.items() if arch.startswith(start)), (nn.Module, r"(?!)"))
    names = [name for name, part in net.named_modules() if isinstance(part, kind) and re.search(rf"(^|\.){ending}$", name)]
    return {f"block{number}": name for number, name in enumerate(names, 1)}
