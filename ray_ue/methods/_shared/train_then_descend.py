"""Crafting in two parts: a network is trained step by step, then all perturbations descend against it once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor

from ray_ue.loop import Step, Workers, joint_state, read_loss
from ray_ue.methods._shared.batch_rng import Images, Rows
from ray_ue.methods._shared.delta_updates import Batches, DeltaUpdates, Descent
from ray_ue.methods._shared.sampler import RunningMean
from ray_ue.methods._shared.source_model import SourceModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """`train(i)` makes step i of `steps` and gives its `loss_of`."""

    steps: int
    train: Callable[[int], Callable[[], float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Descending:
    """One round of sign steps; `loss` also adds to a running mean. `advice` is for whoever gets a loss that is no number."""

    batches: Batches
    begin: Callable[[Rows], Descent]
    loss: Callable[[RunningMean, Descent, Images], Float[Tensor, ""]]
    steps: int
    rate: float
    advice: str = "a smaller step or learning rate in --settings may work"

    def run(self, deltas: DeltaUpdates, workers: Workers) -> Iterator[tuple[int, bool, Callable[[], float]]]:
        """(lists done, whether the round is, loss so far) after each list: of this worker, and in the end of all."""
        mean = RunningMean()
        for number, last in deltas.descend(self.batches, self.begin, partial(self.loss, mean), steps=self.steps, rate=self.rate):
            value = mean.over(workers if last else Workers(), device=deltas.view.surrogate.device)
            yield number, last, read_loss(value, what="the loss of the perturbations", advice=self.advice)


def train_then_descend(
    source: SourceModel,
    deltas: DeltaUpdates,
    *,
    training: Training,
    descending: Descending,
    passes: tuple[int, int],
    resume: Mapping[str, Tensor],
) -> Iterator[Step]:
    """The steps of both parts, which take so many image `passes`. A list of batches in the second one counts as a step.

    `resume` is the state of a step, or empty.
    """
    done, lists = int(resume["step"]) if resume else 0, deltas.lists(descending.batches)
    steps = training.steps + lists
    source.unfreeze()
    for step in range(done, training.steps):
        yield Step(
            step=step + 1,
            steps=steps,
            loss_of=training.train(step),
            images=round(passes[0] * (step + 1) / training.steps),
            state=joint_state(source.state, deltas.state, step=step + 1),
            saved="must" if step + 1 == training.steps else "may",
        )
    if done > training.steps:
        return
    source.freeze()
    for number, last, loss_of in descending.run(deltas, source.workers):
        yield Step(
            step=training.steps + number,
            steps=steps,
            loss_of=loss_of,
            images=passes[0] + round(passes[1] * number / lists),
            state=joint_state(source.state, deltas.state, step=training.steps + last),
            saved="must" if last else "may",
        )
