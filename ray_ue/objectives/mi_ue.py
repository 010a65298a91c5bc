"""The MI-UE objective on one batch of features: like the own group, unlike the others.

Only its slope's sign is ever used, so scale and mean do not matter; its exponentials do: everything here is fp32 and in logarithms.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

FLOOR = math.log(1e-8)  # the authors add this to every exponential

Features = Float[Tensor, "B D"]
Group = Int[Tensor, " B"]


def similarity(features: Features, groups: Group, *, tau: float, itself: bool) -> Float[Tensor, ""]:
    """Mean over i of log(1 + N_i / P_i), with P_i (N_i) the sum of exp(cosine / tau) over rows of the same (another) group.

    MI-UE (arXiv 2603.03725), as released: the sum is inside the logarithm, and P_i holds the row `itself`; without it, rows that
    have no partner in the batch are left out. B x B, never B x B x D.
    """
    normal = F.normalize(features.float(), dim=1)
    like = torch.logaddexp(normal @ normal.T / tau, torch.tensor(FLOOR, device=features.device))
    same = groups[:, None] == groups[None, :]
    if not itself:
        alone = torch.eye(len(groups), dtype=torch.bool, device=features.device)
        same, like = same & ~alone, like.masked_fill(alone, -torch.inf)
    return _mean_log_ratio(like, same)


def _mean_log_ratio(like: Float[Tensor, "B M"], same: Bool[Tensor, "B M"]) -> Float[Tensor, ""]:
    """The mean over rows that have a partner; zero, slopes and all, where none has."""
    good = same.any(1)
    partners = like.masked_fill(~(same | ~good[:, None]), -torch.inf)  # a row without partners must stay finite to be left out
    return (like.logsumexp(1) - partners.logsumexp(1)).where(good, 0.0).sum() / good.sum().clamp(min=1)


def distance(features: Features, groups: Group) -> Float[Tensor, ""]:
    """Mean over i of log(1 + (1 / D) sum of |f_i - f_j| over the rows j of the same group), with the code's 1 / D."""
    wide = features.float()
    same = groups[:, None] == groups[None, :]
    apart = torch.cdist(wide, wide)
    return torch.log1p(apart.masked_fill(~same, 0.0).sum(1) / wide.shape[1]).mean()


def mi_loss(features: Features, groups: Group, *, tau: float, zeta: float, itself: bool) -> Float[Tensor, ""]:
    """similarity + zeta x distance: what lowers the mutual information of clean and protected features."""
    near = similarity(features, groups, tau=tau, itself=itself)
    return near + zeta * distance(features, groups) if zeta else near


def prototype_loss(features: Features, prototypes: Float[Tensor, "G D"], targets: Group, *, tau: float) -> Float[Tensor, ""]:
    """The same pull and push against one prototype per group instead of the batch: mean of log(1 + N_i / P_i) with P_i the aimed one.

    Features and prototypes are centred on the prototypes' mean first: a frozen encoder's cosines are all alike otherwise. Ours.
    """
    middle = prototypes.mean(0)
    normal = F.normalize(features.float() - middle, dim=1)
    return F.cross_entropy(normal @ F.normalize(prototypes - middle, dim=1).T / tau, targets.long())
