"""Distances from features to aimed centres, one value per row."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Loss = Callable[[Float[Tensor, "B D"], Float[Tensor, "B D"]], Float[Tensor, " B"]]


def kl(features: Float[Tensor, "B D"], centers: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """KL(softmax(center) || softmax(feature)) over the feature axis: the UC authors' code. About half the variance of f - mu when small."""
    return F.kl_div(features.log_softmax(1), centers.log_softmax(1), reduction="none", log_target=True).sum(1)


def l2(features: Float[Tensor, "B D"], centers: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Mean squared difference: the KL's small-feature limit without its blindness to a common shift."""
    return (features - centers).square().mean(1)


def cosine(features: Float[Tensor, "B D"], centers: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """1 - cosine: direction only, the geometry in which CLIP is trained (Radford et al. 2021)."""
    return 1 - F.cosine_similarity(features, centers, dim=1)


LOSSES: dict[str, Loss] = {"kl": kl, "l2": l2, "cosine": cosine}
