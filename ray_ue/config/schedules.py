"""Training schedules of victims: those of the papers and a fast one."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """SGD with momentum and a one-cycle learning rate: linear warm-up over the fraction `warm` of the steps, then half a cosine to
    `floor`. Scales and shifts of batch norms learn at `norm_rate` times the rate, with as little decay per step."""

    epochs: int
    batch: int
    lr: float
    decay: float
    momentum: float = 0.9
    nesterov: bool = False
    warm: float = 0.0
    floor: float = 0.0
    smoothing: float = 0.0
    norm_rate: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be 1 or more, got {getattr(self, name)}")
        if self.lr <= 0:
            raise ValueError(f"--learning-rate must be above 0, got {self.lr:g}; 0.1 suits most victims")

    def rate(self, step: int, *, steps: int) -> float:
        """The learning rate of one of `steps` steps, counted from 0."""
        warm = self.warm * steps
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        fallen = 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
        return self.floor + (self.lr - self.floor) * fallen


SCHEDULES = {
    # Warm-up, label smoothing and Nesterov momentum as in airbench (Jordan 2024); lengths are for a CPU.
    "fast": Schedule(epochs=6, batch=100, lr=0.2, decay=5e-4, nesterov=True, warm=0.2, smoothing=0.1),
    # The fast one, twice as long; the grid tries the network `fast` at two rates then.
    "best": Schedule(epochs=12, batch=100, lr=0.2, decay=5e-4, nesterov=True, warm=0.2, smoothing=0.1),
    # UC's stage 2: cosine per step down to 1e-6.
    "paper": Schedule(epochs=90, batch=512, lr=0.1, decay=5e-4, floor=1e-6),
    # MI-UE's supervised victims.
    "paper-mi-ue": Schedule(epochs=200, batch=128, lr=0.5, decay=1e-4, floor=1e-6),
}
# What the network `fast` learns most with under the schedule of its name; ResNet-18 learns less with it (docs/experiments/0030).
OURS = ("fast", "best")  # with rates of their own for some networks
AIRBENCH = {"lr": 0.4, "norm_rate": 16.0}
