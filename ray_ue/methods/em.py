"""Error minimisation (EM; Huang et al. 2021, arXiv 2101.04898): perturbations that leave a network nothing to learn from its images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ray_ue.loop import Step, Workers, joint_state
from ray_ue.methods._shared.delta_method import NetworkMethod
from ray_ue.methods._shared.delta_updates import DeltaUpdates, Descent, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, RunningMean, Sampler, largest_batch
from ray_ue.methods._shared.source_model import SourceModel, check_network, source_loss
from ray_ue.methods._shared.train_then_descend import Descending
from ray_ue.methods.base import Aimed, View
from ray_ue.perturbations.budget import Budget
from ray_ue.random_streams import STREAMS


@dataclass(frozen=True, kw_only=True)
class EM(NetworkMethod):
    """A round trains `network` on `batches_per_round` batches, then moves every perturbation by `steps` steps of `step` levels.

    Both lower the cross-entropy. It ends when the network errs on less than `error` of the protected images, or after `rounds`. Per
    group, the authors take one step a round instead of 20; --settings steps=1 does.
    """

    per = "image"
    multi_grouping = True
    rounds: int = 60
    batches_per_round: int = field(default=10, metadata={"identity": "learnt"})
    batch: int = 512
    steps: int = 20
    step: float = 0.8
    error: float = 0.01
    network: str = "resnet18"
    learning_rate: float = 0.1
    decay: float = 5e-4

    def __post_init__(self) -> None:
        check_network(self.network)
        if (
            min(self.rounds, self.batches_per_round, self.batch, self.steps) < 1
            or min(self.step, self.learning_rate) <= 0
            or not 0 <= self.error < 1
        ):
            raise ValueError(f"EM needs rounds, batches_per_round, batch, steps, step and rate above zero and an error below 1, got {self}")

    def peak_batch(self, rows: int, *, pools: int) -> int:
        return largest_batch(rows, pools=pools, batch=self.batch)

    def passes(self, rows: int) -> int:
        """At most: it usually ends after a fraction of the rounds."""
        return self.rounds * (rows * self.steps + self.batches_per_round * min(self.batch, rows))

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        deltas = open_deltas(view, budget=budget, workers=workers, resume=resume)
        sampler = Sampler(view=view, workers=workers, seed=seed)
        source = SourceModel.create(self.network, sampler=sampler, decay=self.decay, resume=resume, passes=self.passes(len(view.pixels)))
        lists = deltas.lists(sampler.pooled(0, batch=self.batch))
        each = self.batches_per_round + lists
        images = int(resume["images"]) if resume else 0
        begun, turn = (int(resume["round"]), int(resume["batch"])) if resume else (0, 0)
        for done in range(begun, self.rounds):
            for batch in range(turn if done == begun else 0, self.batches_per_round):
                loss_of, rows = self._train_source(source, sampler, deltas, done * self.batches_per_round + batch)
                images += rows
                yield Step(
                    step=done * each + batch + 1,
                    steps=self.rounds * each,
                    loss_of=loss_of,
                    images=images,
                    state=joint_state(source.state, deltas.state, round=done, batch=batch + 1, images=images),
                    saved="must" if batch + 1 == self.batches_per_round else "may",
                )
            descending = Descending(
                batches=sampler.pooled(done, batch=self.batch),
                begin=partial(self._begin, sampler),
                loss=partial(self._loss, source.freeze()),
                steps=self.steps,
                rate=self.step / 255,
            )
            for number, last, loss_of in descending.run(deltas, workers):
                moved = images + round(self.steps * len(view.pixels) * number / lists)
                enough = last and self._error(source, sampler, deltas) <= self.error
                after = self.rounds if enough else done + last
                counts = {"round": after, "batch": 0 if last else self.batches_per_round, "images": moved if last else images}
                yield Step(
                    step=after * each if last else done * each + self.batches_per_round + number,
                    steps=self.rounds * each,
                    loss_of=loss_of,
                    images=moved,
                    state=joint_state(source.state, deltas.state, **counts),
                    saved="must" if last else "may",
                )
                if enough:
                    return
            images += self.steps * len(view.pixels)

    def _train_source(self, source: SourceModel, sampler: Sampler, deltas: DeltaUpdates, step: int) -> tuple[Callable[[], float], int]:
        """Train on the next batch of an endless shuffled run over the images; returns the `loss_of` of the step, and its images."""
        source.unfreeze()
        rows = sampler.endless(step, batch=self.batch)
        own = sampler.own(rows)
        loss = source.train_step(deltas.added(sampler.images(own), own), sampler.targets(own), rows=len(rows), rate=self.learning_rate)
        return source_loss(loss, rate=self.learning_rate), len(rows)

    @staticmethod
    def _begin(sampler: Sampler, rows: Rows) -> Descent:
        return Descent(
            rows=rows, images=sampler.images(rows), targets=sampler.targets(rows), stream=sampler.pool_rng(STREAMS["em/descend"], rows=rows)
        )

    @staticmethod
    def _loss(source: SourceModel, mean: RunningMean, batch: Descent, images: Images) -> Float[Tensor, ""]:
        value = source.cross_entropy(images, batch.targets)
        mean.add(value / len(batch.rows), len(batch.rows))
        return value

    @torch.no_grad()
    def _error(self, source: SourceModel, sampler: Sampler, deltas: DeltaUpdates) -> float:
        """The share of protected images that the network classifies wrongly, by its first head."""
        device = sampler.view.surrogate.device
        counts = torch.zeros(2, device=device)
        for rows in (rows for pool in sampler.pooled(0, batch=self.batch).values() for rows in pool):
            wrong = source.logits(deltas.added(sampler.images(rows), rows))[0].argmax(1) != sampler.targets(rows)[0]
            counts += torch.stack([wrong.sum(), torch.tensor(len(rows), device=device)])
        wrong, total = sampler.workers.all_reduce(counts).tolist()
        return wrong / total
