"""Transferable unlearnable examples (TUE; Ren et al. 2023, arXiv 2210.10114): contrastive error minimisation, and noise apart by group."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ray_ue.loop import Step, Workers, joint_state
from ray_ue.methods._shared.delta_method import NetworkMethod
from ray_ue.methods._shared.delta_updates import DeltaUpdates, Descent, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, RunningMean, Sampler, largest_batch
from ray_ue.methods._shared.source_model import SourceModel, check_network, cosine_rate, refuse_several_workers, source_loss
from ray_ue.methods._shared.train_then_descend import Descending
from ray_ue.methods.base import Aimed, View
from ray_ue.models import contrastive
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS
from ray_ue.types import SlotOf

TINY = 1e-6  # keeps the dispersion's slope finite while two groups' noises coincide


def dispersion(deltas: Images, groups: Int[np.ndarray, " B"]) -> Float[Tensor, ""]:
    """Class-wise separability (CSD): the mean over pairs of groups of (s_i + s_j) / d_ij, s a group's mean distance to its centre."""
    flat = deltas.flatten(1).float()
    kinds, own = np.unique(groups, return_inverse=True)  # on the host, so that nobody waits for the device
    members = torch.from_numpy(np.eye(len(kinds), dtype=np.float32)[own]).to(flat.device)
    centres = (members.T @ flat) / members.sum(0)[:, None]
    away = ((flat - members @ centres).square().sum(1) + TINY).sqrt()
    spread = (members.T @ away) / members.sum(0)
    first, second = torch.triu_indices(len(spread), len(spread), 1, device=flat.device)
    apart = ((centres[first] - centres[second]).square().sum(1) + TINY).sqrt()
    return ((spread[first] + spread[second]) / apart).mean() if len(first) else flat.sum() * 0


@dataclass(frozen=True, kw_only=True)
class TUE(NetworkMethod):
    """A SimCLR network is trained on the protected images; after `every` batches, all perturbations take `steps` steps of `step` levels
    down `ssl` x its loss + `csd` x the dispersion of the noise.

    The weights are those of the authors' MoCo recipe. Their SimCLR demo has ssl=0, csd=0.1: then the network plays no part.
    """

    per = "image"
    single_worker = True
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

    def peak_batch(self, rows: int, *, pools: int) -> int:
        return 2 * largest_batch(rows, pools=1, batch=self.batch)

    def passes(self, rows: int) -> int:
        """Two views an image."""
        return 2 * rows * (self.epochs + self.rounds(rows) * self.steps)

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        refuse_several_workers(workers, method="tue")
        deltas = open_deltas(view, budget=budget, workers=workers, resume=resume)
        sampler = Sampler(view=view, workers=workers, seed=seed)
        heads = lambda width: nn.ModuleList([contrastive.projector(width)])  # noqa: E731
        source = SourceModel.create(self.network, sampler=sampler, decay=self.decay, resume=resume, heads=heads)
        rounds, lists = self.rounds(len(view.pixels)), deltas.lists(sampler.gathered(0, batch=self.batch))
        each, passes = self.every + lists, self.passes(len(view.pixels))
        begun, turn = (int(resume["round"]), int(resume["batch"])) if resume else (0, 0)
        for done in range(begun, rounds):
            for batch in range(turn if done == begun else 0, self.every):
                yield Step(
                    step=done * each + batch + 1,
                    steps=rounds * each,
                    loss_of=self._train_source(source, sampler, deltas, done * self.every + batch, steps=rounds * self.every),
                    images=passes * (done * each + batch + 1) // (rounds * each),
                    state=joint_state(source.state, deltas.state, round=done, batch=batch + 1),
                    saved="must" if batch + 1 == self.every else "may",
                )
            descending = Descending(
                # Nothing but meeting ties a group's noises together, so that pools by themselves would each find a pattern of their own.
                batches=sampler.gathered(done, batch=self.batch),
                begin=partial(self._begin, sampler, done),
                loss=partial(self._loss, source.freeze(), view.group_of, seed + 7919 * done),
                steps=self.steps,
                rate=self.step / 255,
            )
            for number, last, loss_of in descending.run(deltas, workers):
                yield Step(
                    step=done * each + self.every + number,
                    steps=rounds * each,
                    loss_of=loss_of,
                    images=passes * (done * each + self.every + number) // (rounds * each),
                    state=joint_state(source.state, deltas.state, round=done + last, batch=0 if last else self.every),
                    saved="must" if last else "may",
                )

    def _train_source(self, source: SourceModel, sampler: Sampler, deltas: DeltaUpdates, step: int, *, steps: int) -> Callable[[], float]:
        source.unfreeze()
        rows = sampler.endless(step, batch=self.batch)
        images = deltas.added(sampler.images(rows), rows)
        rate = cosine_rate(step / steps, lr=self.learning_rate, floor=0.0)
        return source_loss(source.descend(partial(self._contrast, source, images, seed=sampler.seed + 1000 * step), rate=rate), rate=rate)

    def _contrast(self, source: SourceModel, images: Images, *, seed: int) -> Float[Tensor, ""]:
        draws = contrastive.RowDraws(rng=torch.Generator().manual_seed(seed), total=len(images))
        first, second = (source.logits(contrastive.view(images, draws))[0] for _ in range(2))
        return contrastive.nt_xent(first, second, tau=self.tau)

    def _begin(self, sampler: Sampler, done: int, rows: Rows) -> Descent:
        """The dispersion of no noise at all has no slope: the first round starts from random noise."""
        images, targets, stream = sampler.images(rows), sampler.targets(rows), sampler.pool_rng(STREAMS["tue/start"], rows=rows)
        descent = Descent(rows=rows, images=images, targets=targets, stream=stream)
        return descent if done else replace(descent, start=lambda stored: stream.uniform(stored) * (self.step / 255))

    def _loss(
        self, source: SourceModel, group_of: SlotOf, key: int, mean: RunningMean, batch: Descent, images: Images
    ) -> Float[Tensor, ""]:
        value = self.csd * dispersion(images - batch.images, group_of[batch.rows])
        if self.ssl:
            value = value + self.ssl * self._contrast(source, images, seed=key + 104_729 * int(batch.rows[0]) + batch.taken)
        return mean.add(value, len(batch.rows))
