"""Transferable unlearnable examples (TUE; Ren et al. 2023, arXiv 2210.10114): contrastive error minimisation, and noise apart by group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ray_ue import ssl
from ray_ue.budget import Budget
from ray_ue.methods.base import Aimed, View
from ray_ue.methods.batches import Batches, Images, Mean, Rows, largest
from ray_ue.methods.source import Source, alone, check_network, cosine
from ray_ue.methods.tables import Table, Trained, kept, open_table
from ray_ue.pgd import Objective
from ray_ue.steps import Step, Workers

WIDTH = 128  # SimCLR's projection
TINY = 1e-6  # keeps the dispersion's slope finite while two groups' noises coincide


def dispersion(deltas: Images, groups: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Class-wise separability (CSD): the mean over pairs of groups of (s_i + s_j) / d_ij, s a group's mean distance to its centre."""
    flat = deltas.flatten(1).float()
    told = F.one_hot(groups, int(groups.max()) + 1).float()
    told = told[:, told.any(0)]
    centres = (told.T @ flat) / told.sum(0)[:, None]
    away = ((flat - told @ centres).square().sum(1) + TINY).sqrt()
    spread = (told.T @ away) / told.sum(0)
    first, second = torch.triu_indices(len(spread), len(spread), 1, device=flat.device)
    apart = ((centres[first] - centres[second]).square().sum(1) + TINY).sqrt()
    return ((spread[first] + spread[second]) / apart).mean() if len(first) else flat.sum() * 0


@dataclass(frozen=True, kw_only=True)
class TUE(Trained):
    """A SimCLR network is trained on the protected images; after `every` batches, all perturbations take `steps` steps of `step` levels
    down `ssl` x its loss + `csd` x the dispersion of the noise.

    The weights are those of the authors' MoCo recipe. Their SimCLR demo has ssl=0, csd=0.1: then the network plays no part.
    """

    per = "image"
    alone = True
    epochs: int = 40
    batch: int = 512
    every: int = 20
    steps: int = 20
    step: float = 0.8
    ssl: float = 1.0
    csd: float = 1.0
    tau: float = 0.5
    network: str = "resnet18"
    learning_rate: float = 0.06
    decay: float = 5e-4

    def __post_init__(self) -> None:
        check_network(self.network)
        least = min(self.epochs, self.batch, self.every, self.steps)
        if least < 1 or min(self.step, self.tau, self.learning_rate) <= 0 or min(self.ssl, self.csd) < 0 or not self.ssl + self.csd:
            raise ValueError(f"TUE needs epochs, batch, every, steps, step, tau and rate above zero and some weight, got {self}")

    def rounds(self, rows: int) -> int:
        return max(1, self.epochs * -(-rows // self.batch) // self.every)

    def together(self, rows: int, *, pools: int) -> int:
        return 2 * largest(rows, pools=1, batch=self.batch)

    def passes(self, rows: int) -> int:
        """Two views an image."""
        return 2 * rows * (self.epochs + self.rounds(rows) * self.steps)

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        alone(workers, method="tue")
        table = open_table(view, budget=budget, workers=workers, resume=resume)
        batches = Batches(view=view, workers=workers, seed=seed)
        source = Source.fresh(
            self.network,
            view=view,
            decay=self.decay,
            seed=seed,
            workers=workers,
            resume=resume,
            heads=lambda width: nn.ModuleList([_projector(width)]),
        )
        whole, rounds = -(-len(view.pixels) // self.batch), self.rounds(len(view.pixels))
        for done in range(int(resume["round"]) if resume else 0, rounds):
            source.awake()
            for i in range(done * self.every, (done + 1) * self.every):
                rows = batches.training(i // whole, batch=self.batch)[i % whole]
                images = batches.images(rows) + table.of(rows)
                rate = cosine(i / (rounds * self.every), lr=self.learning_rate, floor=0.0)
                source.follow(lambda images=images, i=i: self._contrast(source, images, seed=seed + 1000 * i), rate=rate)
            mean = self._move(source, table, batches, done)
            state = source.state() | table.state() | {"round": torch.tensor(done + 1)}
            spent = self.passes(len(view.pixels)) * (done + 1) // rounds
            loss = mean.over(workers, device=view.surrogate.device)
            yield Step(step=done + 1, steps=rounds, loss=loss, images=spent, state=lambda state=state: dict(state), saved="must")

    def _contrast(self, source: Source, images: Images, *, seed: int) -> Float[Tensor, ""]:
        rng = torch.Generator().manual_seed(seed)
        first, second = (source.logits(ssl.view(images, rng))[0] for _ in range(2))
        return ssl.nt_xent(first, second, tau=self.tau)

    def _move(self, source: Source, table: Table, batches: Batches, done: int) -> Mean:
        source.still()
        mean = Mean()

        def show(rows: Rows) -> tuple[Images, Objective]:
            images, groups = batches.images(rows), batches.targets(rows)[0]
            turns = iter(range(self.steps))

            def loss(moved: Images) -> Tensor:
                value = self.csd * dispersion(moved - images, groups)
                if self.ssl:
                    key = batches.seed + 7919 * done + 104_729 * int(rows[0]) + next(turns)
                    value = value + self.ssl * self._contrast(source, moved, seed=key)
                mean.add(value.detach(), len(rows))
                return value

            return images, loss

        def start(rows: Rows, before: Images) -> Images:
            """The dispersion of no noise at all has no slope: the first round begins anywhere."""
            return kept(rows, before) if done else batches.whole(83, rows=rows).uniform(before) * (self.step / 255)

        # Nothing but meeting ties a group's noises together, so that pools by themselves would each find a pattern of their own.
        table.settle(batches.gathered(done, batch=self.batch), show, steps=self.steps, rate=self.step / 255, start=start)
        return mean


def _projector(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, WIDTH))
