"""The last linear layer of a classifier, whose input is the features, and how a fresh one is made."""

from torch import nn

from ray_ue.loop import seeded_weights


def last_linear(net: nn.Module) -> str:
    """The name of the last linear layer."""
    return [name for name, part in net.named_modules() if isinstance(part, nn.Linear)][-1]


def remove_head(net: nn.Module) -> int:
    """Replace the last linear layer with an identity, in place; return its width, which is that of the features."""
    name = last_linear(net)
    width = int(net.get_submodule(name).in_features)  # type: ignore[arg-type]
    net.set_submodule(name, nn.Identity())
    return width


def fresh_head(width: int, classes: int, *, seed: int) -> nn.Linear:
    """A linear layer whose weights are a function of `seed`."""
    with seeded_weights(seed):
        return nn.Linear(width, classes)
