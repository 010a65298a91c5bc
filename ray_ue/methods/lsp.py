"""Linearly separable perturbations (LSP, SynPer; Yu et al., KDD 2022, arXiv 2111.00898): patches of colour that tell groups apart."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from ray_ue.methods._shared.surrogate_free import DeltaBlock, Slots, SlotSampler, SurrogateFreeMethod, scaled_to
from ray_ue.methods.base import View
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS

SEP = 10.0  # half the edge of the hypercube: the authors' class_sep

Points = Float[np.ndarray, "n D"]


@dataclass(frozen=True, kw_only=True)
class LSP(SurrogateFreeMethod):
    """`patches` x `patches` squares of one colour each, scaled so that the mean square change of a channel is `strength` levels squared.

    A group's features are the normal cloud about a vertex of a hypercube that scikit-learn's make_classification gives it (one cluster
    per class, class_sep 10, every feature informative); an image's patches are a point of its group's cloud, a group's own are its
    vertex. The authors' L2 norm of (6/255) sqrt(3 h w) is `strength=6`, their patches 4 x 4 at 32 pixels and 7 x 7 at 224. They do not
    clip; we do, to the budget, which a point beyond it loses a little of its norm to (none of a vertex, for a budget of `strength`).
    """

    per = "image"
    patches: int = 4
    strength: float = 6.0

    def __post_init__(self) -> None:
        if self.patches < 1 or self.strength <= 0:
            raise ValueError(f"LSP needs patches and a strength above zero, got {self.patches} and {self.strength}")

    def slot_sampler(self, view: View, *, budget: Budget, seed: int) -> SlotSampler:
        side, width = view.surrogate.canvas, 3 * self.patches**2
        if side < self.patches:
            raise ValueError(f"{self.patches} x {self.patches} patches do not fit into {side} pixels; --settings patches={side} or fewer")
        centers = vertices(view.groups, width=width, seed=seed)
        edge, shared = -(-side // self.patches), view.per == "group"

        def draw(slots: Slots, groups: Slots) -> DeltaBlock:
            points = centers[groups] if shared else cloud(slots, groups, centers=centers, seed=seed)
            grid = torch.from_numpy(points).float().view(-1, self.patches, self.patches, 3).permute(0, 3, 1, 2)
            deltas = grid.repeat_interleave(edge, 2).repeat_interleave(edge, 3)[:, :, :side, :side]
            return budget.project(scaled_to(self.strength / 255 * (3 * side**2) ** 0.5, deltas))

        return draw


def vertices(groups: int, *, width: int, seed: int) -> Float[np.ndarray, "G D"]:
    """A vertex of the hypercube [-10, 10]^D for each group, no two the same. A `ValueError` if it has too few vertices."""
    if groups > 2**width:
        raise ValueError(f"{groups:,} groups need as many vertices, but a cube in {width} dimensions has {2**width:,}; use more patches")
    rng = np.random.default_rng([seed, STREAMS["lsp/vertices"]])
    corners: dict[bytes, np.ndarray] = {}
    if width < 20:  # small cubes may be nearly used up
        codes = rng.permutation(2**width)[:groups]
        return SEP * (2.0 * ((codes[:, None] >> np.arange(width)) & 1) - 1)
    while len(corners) < groups:
        vertex = rng.integers(0, 2, width)
        corners[vertex.tobytes()] = vertex
    return SEP * (2.0 * np.stack(list(corners.values())) - 1)


def cloud(slots: Slots, groups: Slots, *, centers: Float[np.ndarray, "G D"], seed: int) -> Points:
    """A point for each slot: its group's centre and a normal draw of the slot's own, mixed by a matrix of the group's."""
    width = centers.shape[1]
    points = np.stack([np.random.default_rng([seed, STREAMS["lsp/points"], slot]).standard_normal(width) for slot in slots.tolist()])
    for group in np.unique(groups).tolist():
        mixing = np.random.default_rng([seed, STREAMS["lsp/spreads"], group]).uniform(-1, 1, (width, width))
        for i in np.flatnonzero(groups == group):  # one at a time: the last bits of a whole block's product depend on the block
            points[i] = points[i] @ mixing + centers[group]
    return points
