"""Unlearnable Clusters (CVPR 2023): one perturbation per cluster that drives features to another cluster's centre. Looks at no label."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue.images.augment import Crops, crop, draw_crops
from ray_ue.images.processing import Draws, draw_processes, parse_processes, process
from ray_ue.loop import Step, Workers, read_loss, to_cpu
from ray_ue.methods._shared.uc_parameterization import PARAMETERIZATIONS
from ray_ue.methods.base import Aimed, Method, View
from ray_ue.models.pretrained.surrogates import Images, Surrogate
from ray_ue.objectives.anchor import LOSSES
from ray_ue.ordered import take_rows
from ray_ue.perturbations import Additive, Poison
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.random_streams import STREAMS
from ray_ue.registry import pick
from ray_ue.types import SlotOf

BETAS = (0.9, 0.999)
END = 0.01  # the last learning rate as a share of the first: the authors' 1e-4 ends at 1e-6
FEW = 4  # a slot that is in a batch at all has at least so many rows
FLIPS = 0.5  # the authors' horizontal flips

Rows = Int[np.ndarray, " _"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One step's global batch: row i of it trains `slots[i % len(slots)]`."""

    slots: Int[np.ndarray, " A"]
    rows: Rows
    crops: Crops
    processes: Draws


@dataclass(frozen=True, kw_only=True)
class AugmentOrder:
    """Where the delta meets the image: the delta's side, and how images, deltas and crops become what the surrogate sees."""

    side: Callable[[Surrogate], int]
    show: Callable[[Images, Images, Crops], Images]


AUGMENT_ORDERS = {
    "before": AugmentOrder(side=lambda net: net.size, show=lambda images, deltas, crops: (crop(images, crops) + deltas).clamp(0, 1)),
    "after": AugmentOrder(side=lambda net: net.canvas, show=lambda images, deltas, crops: crop((images + deltas).clamp(0, 1), crops)),
}


def own_rows(slot_of: SlotOf, slots: int) -> list[Rows]:
    """Each slot trains on its own cluster's rows; one that has none in this sample, on all of them."""
    order = np.argsort(slot_of, kind="stable")
    parts = np.split(order, np.searchsorted(slot_of[order], np.arange(1, slots)))
    return [part if len(part) else order for part in parts]


def all_rows(slot_of: SlotOf, slots: int) -> list[Rows]:
    """Each slot trains on the whole sample, as the authors' code does."""
    return [np.arange(len(slot_of))] * slots


SCOPES: dict[str, Callable[[SlotOf, int], list[Rows]]] = {"own": own_rows, "all": all_rows}


@dataclass(frozen=True, kw_only=True)
class UC(Method):
    """`batch` rows a step, dealt evenly to the slots; `data_scope` "own" trains a slot on its own cluster's rows, "all" on any.

    `augment` "before" crops and flips the image and then adds the delta, as the authors do; "after" adds the delta to the
    published image and then crops and flips both, as an exploiter does. The rate falls along a half cosine to a hundredth.

    `through` names processes of `images.processing`, divided by a plus: in each step every image, perturbed and cropped, passes one of
    them, drawn at random, before the surrogate sees it (expectation over transformations: Athalye et al. 2018, arXiv 1707.07397). The
    authors have nothing of the kind, which is `none`.
    """

    per = "group"
    steps: int = 400
    batch: int = 100
    learning_rate: float = 0.1
    parameterization: str = "pixels"
    data_scope: str = "own"
    loss: str = "kl"
    augment: str = "before"
    through: str = "none"

    def __post_init__(self) -> None:
        pick(PARAMETERIZATIONS, self.parameterization, what="parameterization")
        pick(LOSSES, self.loss, what="loss")
        pick(SCOPES, self.data_scope, what="data scope")
        pick(AUGMENT_ORDERS, self.augment, what="place of the augmentation")
        parse_processes(self.through)
        if self.steps < 1 or self.batch < 1 or self.learning_rate <= 0:
            raise ValueError(f"UC needs steps, batch and learning rate above zero, got {self.steps}, {self.batch}, {self.learning_rate}")

    @property
    def uses_surrogate(self) -> bool:
        return True

    @property
    def unplanned_model(self) -> str:
        return "generators" if self.parameterization == "generator" else ""

    def peak_batch(self, rows: int, *, pools: int) -> int:
        return self.batch

    def passes(self, rows: int) -> int:
        return self.steps * self.batch

    def identity(self) -> dict[str, object]:
        """Without `through` where it is `none`: banks from before there was this setting keep their names."""
        return {name: value for name, value in super().identity().items() if (name, value) != ("through", "none")}

    def rate(self, step: int) -> float:
        """The learning rate after `step` steps."""
        return self.learning_rate * (END + (1 - END) * 0.5 * (1 + math.cos(math.pi * step / self.steps)))

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        """Worker r computes rows r::world of every batch; gradients are summed, so that the bank does not depend on the workers."""
        _check_aim(aim, groups=view.groups)
        parameterization, side = PARAMETERIZATIONS[self.parameterization], AUGMENT_ORDERS[self.augment].side(view.surrogate)
        start = dict(resume) or _fresh(parameterization.start(view.slots, side=side, seed=seed))
        memory = {name: value.clone().to(view.surrogate.device) for name, value in start.items()}
        targets = torch.from_numpy(view.centers[aim[view.group_of_slot()]]).to(view.surrogate.device)
        members = SCOPES[self.data_scope](view.slot_of, view.slots)
        images = int(start["images"])
        for step in range(int(start["step"]), self.steps):
            batch = self._draw(view.surrogate, members=members, seed=seed, turn=step)
            loss, gradient = self._loss_and_gradient(view, batch, targets=targets, memory=memory, budget=budget, workers=workers)
            _adam(memory, batch.slots, gradient, rate=self.rate(step), decay=parameterization.decay, floor=parameterization.floor)
            images += len(batch.rows)
            memory |= {"step": torch.tensor(step + 1), "images": torch.tensor(images)}
            if step + 1 == self.steps:  # here, where it is measured: another device would round a generator's convolutions otherwise
                memory["rendered"] = self._rendered(memory, budget=budget)
            loss_of = read_loss(loss, what=f"the UC loss at step {step}", advice=f"try a learning rate below {self.learning_rate}")
            yield Step(step=step + 1, steps=self.steps, loss_of=loss_of, images=images, state=partial(to_cpu, memory))

    def poison(self, state: Mapping[str, Tensor], *, deltas: DeltaTable, budget: Budget) -> Poison:
        """The deltas as the device that crafted them shows them, in whole levels; before the last step, as this one does."""
        rendered = state["rendered"] if "rendered" in state else self._rendered(state, budget=budget)
        return Additive(bank=budget.quantise(rendered.cpu().numpy()), budget=budget)

    @torch.no_grad()
    def _rendered(self, state: Mapping[str, Tensor], *, budget: Budget) -> Float[Tensor, "S 3 h w"]:
        """The deltas of all slots in the computer's memory; one is rendered at a time."""
        parameterization = PARAMETERIZATIONS[self.parameterization]
        pairs = zip(state["params"].split(1), state["latent"].split(1), strict=True)
        return torch.cat([parameterization.render(params, latent, budget=budget).cpu() for params, latent in pairs])

    def _draw(self, surrogate: Surrogate, *, members: list[Rows], seed: int, turn: int) -> Batch:
        """The same on every worker. With more slots than a batch has room for, slots take turns."""
        rng, other = (np.random.default_rng([seed, turn, STREAMS[name]]) for name in ("uc/batches", "uc/through"))
        active = min(len(members), max(1, self.batch // FEW))
        slots = np.sort((turn * active + np.arange(active)) % len(members))
        each = max(1, self.batch // active)
        rows = np.stack([rng.choice(members[slot], each, replace=len(members[slot]) < each) for slot in slots], 1).ravel()
        return Batch(
            slots=slots,
            rows=rows,
            crops=draw_crops(len(rows), canvas=surrogate.canvas, size=surrogate.size, flips=FLIPS, rng=rng),
            processes=draw_processes(len(rows), names=parse_processes(self.through), rng=other),
        )

    def _loss_and_gradient(
        self, view: View, batch: Batch, *, targets: Tensor, memory: Mapping[str, Tensor], budget: Budget, workers: Workers
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "A ..."]]:
        """The mean distance of the global batch from its aimed centres, and the mean gradient of its slots' parameters.

        This process computes its share of the batch and renders only the slots of its share.
        """
        active = len(batch.slots)
        own = slice(workers.rank, None, workers.world)
        places = np.arange(len(batch.rows))[own] % active
        local, which = np.unique(places, return_inverse=True)
        slots = torch.from_numpy(batch.slots).to(targets.device)
        gradient = torch.zeros_like(memory["params"][slots])
        total = torch.zeros((), device=targets.device)
        if len(places):
            active_slots = slots[torch.from_numpy(local).to(slots.device)]
            params = memory["params"][active_slots].requires_grad_()
            deltas = PARAMETERIZATIONS[self.parameterization].render(params, memory["latent"][active_slots], budget=budget)
            images = view.images(batch.rows[own])
            shown = AUGMENT_ORDERS[self.augment].show(
                images, take_rows(deltas, torch.from_numpy(which).to(slots.device)), batch.crops.of(own)
            )
            aimed = targets[slots[torch.from_numpy(places).to(slots.device)]]
            seen = process(shown, batch.processes.of(own))
            value = LOSSES[self.loss](view.surrogate.features(seen), aimed).sum()
            gradient[local] = torch.autograd.grad(value, params)[0]
            total = value.detach()
        each = len(batch.rows) // active
        return workers.all_reduce(total) / len(batch.rows), workers.all_reduce(gradient) / each


def _check_aim(aim: Aimed, *, groups: int) -> None:
    if groups < 2:
        raise ValueError(f"UC pushes each cluster toward another one, but there is only {groups}; cluster with k of 2 or more")
    if len(aim) != groups:
        raise ValueError(f"{groups} groups have {len(aim)} aims")
    if len(still := np.flatnonzero(np.asarray(aim) == np.arange(groups))):
        raise ValueError(f"group {still[0]} aims at its own center, which would protect nothing")


def _fresh(start: dict[str, Tensor]) -> dict[str, Tensor]:
    params = start["params"]
    moments = {"first": torch.zeros_like(params), "second": torch.zeros_like(params), "count": torch.zeros(len(params))}
    return start | moments | {"step": torch.tensor(0), "images": torch.tensor(0)}


def _adam(memory: dict[str, Tensor], slots: Int[np.ndarray, " A"], gradient: Tensor, *, rate: float, decay: float, floor: float) -> None:
    """Adam (Kingma and Ba 2015) with coupled weight decay, one clock per slot: a slot that sits out a step does not move."""
    rows = torch.from_numpy(slots).to(gradient.device)
    params = memory["params"][rows]
    gradient = gradient + decay * params
    memory["first"][rows] = first = memory["first"][rows].lerp(gradient, 1 - BETAS[0])
    memory["second"][rows] = second = memory["second"][rows].lerp(gradient.square(), 1 - BETAS[1])
    memory["count"][rows] = count = memory["count"][rows] + 1
    shape = (-1,) + (1,) * (params.dim() - 1)
    fair, fair_square = ((1 - beta**count).view(shape) for beta in BETAS)
    memory["params"][rows] = params - rate * (first / fair) / ((second / fair_square).sqrt() + floor)
