"""The bases of methods that move their perturbations by sign steps."""

from collections.abc import Mapping

from torch import Tensor

from ray_ue.methods.base import Method
from ray_ue.perturbations import Additive, Poison, Streamed
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable


class DeltaMethod(Method):
    """A method that moves its perturbations by `DeltaUpdates`."""

    def poison(self, state: Mapping[str, Tensor], *, deltas: DeltaTable, budget: Budget) -> Poison:
        """What the state of the deltas stands for."""
        if "turn" in state:
            return Streamed(deltas=deltas, turn=int(state["turn"]))
        return Additive(bank=budget.quantise(state["entries"].cpu().numpy()), budget=budget)


class NetworkMethod(DeltaMethod):
    """One that trains `network` along."""

    network: str

    @property
    def source_arch(self) -> str:
        return self.network
