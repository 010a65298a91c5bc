"""Random numbers for one worker's part of a batch: drawn for the whole batch, so that they do not depend on who holds which row."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ray_ue.images.augment import Crops, draw_crops
from ray_ue.loop import generator

Rows = Int[np.ndarray, " B"]
Images = Float[Tensor, "B 3 h w"]


class BatchRng:
    """A stream that is a function of `key` alone, for a batch of `rows`; values are given for the `wanted` ones only."""

    def __init__(self, *key: int, rows: Rows, wanted: Bool[np.ndarray, " B"], device: torch.device) -> None:
        first = int(rows[0]) if len(rows) else 0
        self.total, self.wanted, self.device = len(rows), wanted, device
        self.rng = np.random.default_rng([*key, first])
        self.source = generator(*key, first, 1, device=device)

    def uniform(self, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """From -1 to 1, in the shape of `like`, which holds the wanted rows."""
        return self._select(torch.rand((self.total, *like.shape[1:]), generator=self.source, device=self.device)) * 2 - 1

    def normal(self, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        return self._select(torch.randn((self.total, *like.shape[1:]), generator=self.source, device=self.device))

    def crops(self, side: int, *, flips: float = 0.5) -> Crops:
        """A crop for each wanted row, of which a share of `flips` is mirrored."""
        return draw_crops(self.total, canvas=side, size=side, flips=flips, rng=self.rng).of(self.wanted)

    def flips(self, share: float) -> Bool[Tensor, " b"]:
        """Which of the wanted rows are mirrored."""
        return torch.from_numpy((self.rng.random(self.total) < share)[self.wanted]).to(self.device)

    def _select(self, values: Tensor) -> Tensor:
        return values if self.wanted.all() else values[torch.from_numpy(self.wanted).to(self.device)]
