"""MINE: a network's lower bound of the mutual information of whole vectors (Belghazi et al. 2018)."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ray_ue.information.base import Features, Information, Partners, check_pairs
from ray_ue.loop import seeded_weights
from ray_ue.types import Rng


@dataclass(frozen=True, kw_only=True)
class Mine:
    """The Donsker-Varadhan bound E[T] - log E[exp T] on the pairs of whole vectors, each coordinate at unit variance.

    T is a network with the `hidden` widths and ReLU, trained by Adam on random batches; the gradient's denominator is a running mean
    (Belghazi et al., equation 12). The value is the mean of the bound on a `held` share of the pairs, which T is not trained on, over the
    `last` steps: so it may lie below zero, and below the true value where `steps` or pairs are few. MI-UE gives no settings; all are ours.
    """

    hidden: tuple[int, ...] = (512, 512)
    rate: float = 1e-4
    steps: int = 1000
    batch: int = 512
    last: int = 100
    decay: float = 0.99
    held: float = 0.2

    def __call__(self, first: Features, second: Partners, *, rng: Rng, device: torch.device) -> Information:
        check_pairs(first, second)
        order = rng.permutation(len(first))
        cut = round(self.held * len(first))
        held, training = order[:cut], order[cut:]
        x, y = (torch.from_numpy(_standardise(part, training)).to(device) for part in (first, second))
        values = list(self._bounds(x, y, training=training, held=held, rng=rng))
        value = float(np.mean(values))
        if not math.isfinite(value):
            raise ValueError(f"MINE diverged: its bound is {value} after {self.steps} steps; a lower rate than {self.rate:g} may work")
        return Information(value=value, stderr=math.nan, corrected=math.nan, n=len(first), slices=0, settings=asdict(self))

    def _bounds(
        self, x: Float[Tensor, "n D"], y: Float[Tensor, "n E"], *, training: np.ndarray, held: np.ndarray, rng: Rng
    ) -> Iterator[float]:
        """Train the network; yield the bound on the held pairs after each of the last steps."""
        net = self._network(x.shape[1] + y.shape[1], seed=int(rng.integers(2**31))).to(x.device)
        optimiser = torch.optim.Adam(net.parameters(), lr=self.rate)
        running = None
        for step in range(self.steps):
            rows = rng.choice(training, min(self.batch, len(training)), replace=False)
            joint, apart = _score_pairs(net, x, y, rows, rng)
            log_mean = _log_mean_exp(apart.detach())
            running = log_mean if running is None else torch.logaddexp(running + math.log(self.decay), log_mean + math.log(1 - self.decay))
            loss = torch.exp(apart - running).mean() - joint.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step >= self.steps - self.last:
                with torch.no_grad():
                    joint, apart = _score_pairs(net, x, y, held, rng)
                    yield float(joint.mean() - _log_mean_exp(apart))

    def _network(self, width: int, *, seed: int) -> nn.Module:
        widths = [width, *self.hidden]
        with seeded_weights(seed):
            parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
            return nn.Sequential(*parts, nn.Linear(widths[-1], 1))


def _standardise(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over `rows`; a constant coordinate becomes 0."""
    middle, spread = features[rows].mean(0), features[rows].std(0)
    return ((features - middle) / np.where(spread > 0, spread, np.inf)).astype(np.float32)


def _score_pairs(net: nn.Module, x: Tensor, y: Tensor, rows: np.ndarray, rng: Rng) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """T of the pairs, and of the same rows with their partners shuffled."""
    one, other = torch.from_numpy(rows).to(x.device), torch.from_numpy(rng.permutation(rows)).to(x.device)
    paired = net(torch.cat([torch.cat([x[one], y[one]], 1), torch.cat([x[one], y[other]], 1)]))[:, 0]
    return paired[: len(rows)], paired[len(rows) :]


def _log_mean_exp(values: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    return torch.logsumexp(values, 0) - math.log(len(values))
