"""Error minimisation (EM; Huang et al. 2021, arXiv 2101.04898): perturbations that leave a network nothing to learn from its images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_ue.budget import Budget
from ray_ue.methods.base import Aimed, View
from ray_ue.methods.batches import Batches, Images, Mean, Rows, largest
from ray_ue.methods.source import Source, check_network
from ray_ue.methods.tables import Table, Trained, kept, open_table
from ray_ue.pgd import Objective
from ray_ue.steps import Step, Workers


@dataclass(frozen=True, kw_only=True)
class EM(Trained):
    """A round trains `network` on `learnt` batches and moves every perturbation by `steps` steps of `step` levels down its cross-entropy.

    It ends when the network errs on less than `error` of the protected images, or after `rounds`. Per group, the authors take one step
    a round instead of 20; --settings steps=1 does.
    """

    per = "image"
    several = True
    rounds: int = 60
    learnt: int = 10
    batch: int = 512
    steps: int = 20
    step: float = 0.8
    error: float = 0.01
    network: str = "resnet18"
    learning_rate: float = 0.1
    decay: float = 5e-4

    def __post_init__(self) -> None:
        check_network(self.network)
        if min(self.rounds, self.learnt, self.batch, self.steps) < 1 or min(self.step, self.learning_rate) <= 0 or not 0 <= self.error < 1:
            raise ValueError(f"EM needs rounds, learnt, batch, steps, step and rate above zero and an error below 1, got {self}")

    def together(self, rows: int, *, pools: int) -> int:
        return largest(rows, pools=pools, batch=self.batch)

    def passes(self, rows: int) -> int:
        """At most: it usually ends after a fraction of the rounds."""
        return self.rounds * (rows * self.steps + self.learnt * min(self.batch, rows))

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        table = open_table(view, budget=budget, workers=workers, resume=resume)
        batches = Batches(view=view, workers=workers, seed=seed)
        source = Source.fresh(self.network, view=view, decay=self.decay, seed=seed, workers=workers, resume=resume)
        images = int(resume["images"]) if resume else 0
        for done in range(int(resume["round"]) if resume else 0, self.rounds):
            images += self._learn(source, table, batches, done) + self.steps * len(view.pixels)
            mean = Mean()
            self._move(source, table, batches, done, mean=mean)
            enough = self._errs(source, table, batches) <= self.error
            last = self.rounds if enough else done + 1
            state = source.state() | table.state() | {"round": torch.tensor(last), "images": torch.tensor(images)}
            loss = mean.over(workers, device=view.surrogate.device)
            yield Step(step=last, steps=self.rounds, loss=loss, images=images, state=lambda state=state: dict(state), saved="must")
            if enough:
                return

    def _learn(self, source: Source, table: Table, batches: Batches, done: int) -> int:
        """The next batches of an endless shuffled run over the images; returns the image passes."""
        source.awake()
        spent = 0
        for i in range(done * self.learnt, (done + 1) * self.learnt):
            whole = -(-len(batches.view.pixels) // self.batch)
            rows = batches.training(i // whole, batch=self.batch)[i % whole]
            mine = batches.mine(rows)
            source.learn(batches.images(mine) + table.of(mine), batches.targets(mine), rows=len(rows), rate=self.learning_rate)
            spent += len(rows)
        return spent

    def _move(self, source: Source, table: Table, batches: Batches, done: int, *, mean: Mean) -> None:
        source.still()

        def show(rows: Rows) -> tuple[Images, Objective]:
            targets = batches.targets(rows)

            def loss(moved: Images) -> Tensor:
                value = source.entropy(moved, targets)
                mean.add(value.detach() / len(rows), len(rows))
                return value

            return batches.images(rows), loss

        table.settle(batches.pooled(done, batch=self.batch), show, steps=self.steps, rate=self.step / 255, start=kept)

    @torch.no_grad()
    def _errs(self, source: Source, table: Table, batches: Batches) -> float:
        """The share of protected images that the network names wrongly, by its first head."""
        device = batches.view.surrogate.device
        counts = torch.zeros(2, device=device)
        for rows in (rows for several in batches.pooled(0, batch=self.batch).values() for rows in several):
            images = batches.images(rows)
            wrong = source.logits(images + table.of(rows))[0].argmax(1) != batches.targets(rows)[0]
            counts += torch.stack([wrong.sum(), torch.tensor(len(rows), device=device)])
        wrong, every = batches.workers.total(counts).tolist()
        return wrong / every
