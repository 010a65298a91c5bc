"""A small world for the laws of methods: tiny pictures, a toy surrogate, and instances of the methods that are through in a moment."""

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ray_ue.loop import Step, Workers
from ray_ue.methods import Method, Per, View
from ray_ue.methods.ar import AR
from ray_ue.methods.cuda import CUDA
from ray_ue.methods.em import EM
from ray_ue.methods.field import Field
from ray_ue.methods.given import GivenPerturbation
from ray_ue.methods.gue import GUE
from ray_ue.methods.lsp import LSP
from ray_ue.methods.mi_ue import MIUE
from ray_ue.methods.noise import RandomNoise
from ray_ue.methods.ops import OPS
from ray_ue.methods.pil import PIL
from ray_ue.methods.rem import REM, SEM
from ray_ue.methods.tap import TAP
from ray_ue.methods.texture import Texture
from ray_ue.methods.tue import TUE
from ray_ue.methods.uc import UC
from ray_ue.models.pretrained.surrogates import Surrogate
from ray_ue.perturbations import Additive, Poison
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable, pools_for
from ray_ue.perturbations.interchange import write
from ray_ue.storage.artifacts import Folder

BUDGET = Budget(levels=8)
GROUPS, ROWS, SIDE, BATCH = 4, 48, 8, 4
AIM = np.roll(np.arange(GROUPS), -1)


@dataclass(frozen=True, kw_only=True)
class Small:
    """`make` gives a small instance, which may keep files in a folder.

    Without `chance` the seed changes nothing; one that is `alone` refuses more than one worker. It is told of further groupings, of
    `also` groups each.
    """

    make: Callable[[Path, Per], Method]
    chance: bool = True
    alone: bool = False
    also: tuple[int, ...] = ()


def small(method: Method, *, chance: bool = True, alone: bool = False, also: tuple[int, ...] = ()) -> Small:
    return Small(make=lambda home, per: method, chance=chance, alone=alone, also=also)


def published(home: Path, per: Per) -> Method:
    """Noise that somebody has put into a file."""
    bank = np.random.default_rng(5).integers(-8, 9, (GROUPS if per == "group" else ROWS, 3, SIDE, SIDE), dtype=np.int8)
    path = home / f"published-{per}.npy"
    write(Additive(bank=bank, budget=BUDGET), path, unit="fraction")
    return GivenPerturbation(file=str(path))


# A new method gets a line here: settings that make it quick, at 8 x 8 pixels and 48 rows. The networks are the smallest there are.
# What follows a plus is a variant of the method before it.
SMALL: Mapping[str, Small] = {
    "uc": small(UC(steps=3, batch=8)),
    "uc+through": small(UC(steps=3, batch=8, through="none+rrc+flip+jpeg+gray+blur")),
    "mi-ue": small(MIUE(epochs=2, batch=16, poison_batch=BATCH, steps=2, step=2, network="mlp2")),
    "mi-ue+also": small(MIUE(epochs=2, batch=16, poison_batch=2 * BATCH, steps=2, step=2, network="mlp2"), also=(6, 2)),
    "mi-ue+draws": small(MIUE(epochs=2, batch=BATCH, poison_batch=BATCH, steps=2, step=2, network="mlp2", draws=2)),
    "mi-ue+frozen": small(MIUE(epochs=2, poison_batch=BATCH, steps=2, step=2, source="frozen")),
    "em+also": small(EM(rounds=2, batches_per_round=2, batch=BATCH, steps=2, step=2, network="mlp2", learning_rate=0.01), also=(6, 2)),
    "em": small(EM(rounds=2, batches_per_round=2, batch=BATCH, steps=2, step=2, network="mlp2", learning_rate=0.01)),
    "tap": small(TAP(epochs=2, batch=16, poison_batch=BATCH, steps=2, step=2, network="mlp2", learning_rate=0.01)),
    "pil": small(PIL(epochs=2, batch=16, steps=2)),
    "rem": small(REM(training_steps=2, batch=16, steps=2, adversary_steps=2, draws=2, network="mlp2", learning_rate=0.01)),
    "sem": small(SEM(training_steps=2, batch=16, steps=2, adversary_steps=2, draws=2, network="mlp2", learning_rate=0.01)),
    "tue": small(TUE(epochs=2, batch=16, every=3, steps=2, step=2, network="small", learning_rate=0.01), alone=True),
    "texture": small(Texture()),
    "field": small(Field()),
    "gue": small(GUE(epochs=2, batch=16, inner=2, network="mlp2"), alone=True),
    "lsp": small(LSP()),
    "ar": small(AR()),
    "ops": small(OPS(), chance=False),
    "cuda": small(CUDA()),
    "noise": small(RandomNoise()),
    "given": Small(make=published, chance=False),
}


# Methods that need more than a moment before a victim notices.
LONGER: Mapping[str, Method] = {
    "em": EM(rounds=6, batches_per_round=4, batch=100, steps=5, step=2, network="mlp2", learning_rate=0.05),
    "mi-ue": MIUE(epochs=12, batch=50, poison_batch=200, steps=10, step=2, network="mlp2", learning_rate=0.05),
    "tap": TAP(epochs=4, batch=50, poison_batch=100, steps=20, step=2, network="mlp2", learning_rate=0.05),
    "rem": REM(
        training_steps=60, batch=50, steps=5, step=2, adversary_levels=1, adversary_steps=1, adversary_step=1, draws=1, network="mlp2"
    ),
    "sem": SEM(
        training_steps=60, batch=50, steps=5, step=2, adversary_levels=1, adversary_steps=1, adversary_step=1, draws=1, network="mlp2"
    ),
    "tue": TUE(epochs=4, batch=100, every=8, steps=5, step=2, network="mlp2", learning_rate=0.01),
    "pil": PIL(batch=50),
    "uc": UC(steps=60, batch=100, learning_rate=0.5),
    "mi-ue+frozen": MIUE(epochs=2, poison_batch=200, steps=10, step=2, source="frozen"),
}


def pictures(rows: int, *, seed: int) -> np.ndarray:
    """Row i is of class i % GROUPS: a faint pattern, of either sign, under noise and a brightness that tell nothing.

    A small network learns to tell the classes, but nothing linear does: what a poison adds is easier to learn, as in real pictures.
    """
    patterns = np.random.default_rng(99).normal(0, 4, (GROUPS, SIDE, SIDE, 3))
    rng = np.random.default_rng(seed)
    sign, light = rng.choice([-1, 1], (rows, 1, 1, 1)), rng.normal(128, 10, (rows, 1, 1, 1))
    return np.clip(light + sign * patterns[np.arange(rows) % GROUPS] + rng.normal(0, 6, (rows, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def surrogate() -> Surrogate:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval().requires_grad_(False)
    half = torch.full((1, 3, 1, 1), 0.5)
    return Surrogate(name="toy", net=net, mean=half, std=half, size=SIDE, canvas=SIDE, width=6)


@dataclass(frozen=True, kw_only=True)
class World:
    """A place to craft in: with one entry per group or per image, and a folder for what is kept on disk."""

    name: str
    per: Per
    home: Path
    rows: int = ROWS
    longer: bool = False
    budget: Budget = BUDGET

    @property
    def method(self) -> Method:
        return LONGER[self.name] if self.longer and self.name in LONGER else SMALL[self.name].make(self.home, self.per)

    @property
    def slot_of(self) -> np.ndarray:
        return (np.arange(self.rows) % GROUPS if self.per == "group" else np.arange(self.rows)).astype(np.int32)

    def deltas(self, place: str) -> DeltaTable:
        home = Folder.at(str(self.home / place))
        return DeltaTable(home=home, rows=self.rows, side=SIDE, pools=pools_for(self.rows, batch=BATCH), budget=self.budget)

    def view(self, place: str) -> View:
        return View(
            pixels=pictures(self.rows, seed=0),
            slot_of=self.slot_of,
            slots=GROUPS if self.per == "group" else self.rows,
            group_of=(np.arange(self.rows) % GROUPS).astype(np.int32),
            groups=GROUPS,
            centers=np.random.default_rng(0).standard_normal((GROUPS, 6)).astype(np.float32),
            surrogate=surrogate(),
            deltas=self.deltas(place),
            also=tuple((np.arange(self.rows) // 5 % count).astype(np.int32) for count in SMALL[self.name].also),
        )

    def steps(
        self,
        place: str,
        *,
        seed: int = 0,
        stop: int = 0,
        resume: Mapping[str, Tensor] | None = None,
        workers: Workers = Workers(),  # noqa: B008
    ) -> list[tuple[Step, dict[str, Tensor]]]:
        """The steps up to step `stop` (0: all), with the states of those that must be saved and of the last.

        `place` is the folder, so that a resumed run finds the first one's.
        """
        found = []
        crafting = self.method.craft(self.view(place), budget=self.budget, aim=AIM, seed=seed, workers=workers, resume=resume or {})
        with closing(crafting):  # type: ignore[type-var]
            for step in crafting:
                kept = step.saved == "must" or step.step in (stop, step.steps)
                found.append((step, step.state() if kept else {}))
                if step.step == stop:
                    break
        return found

    def poison(self, place: str, *, seed: int = 0) -> Poison:
        return self.method.poison(self.steps(place, seed=seed)[-1][1], deltas=self.deltas(place), budget=self.budget)

    def shown(self, poison: Poison) -> np.ndarray:
        """The protected copies of all rows."""
        return np.stack([poison.apply(clean, int(slot)) for clean, slot in zip(pictures(self.rows, seed=0), self.slot_of, strict=True)])

    def shared(self, place: str, *, world: int) -> list[Poison]:
        """The poisons of `world` workers, as threads that take turns (torch's global generators are shared) and meet to sum."""
        barrier, turn, parts = threading.Barrier(world), threading.Lock(), [torch.zeros(0)] * world
        states: list[dict[str, Tensor]] = [{}] * world
        failed: list[BaseException] = []

        def work(rank: int) -> None:
            def total(value: Tensor) -> Tensor:
                parts[rank] = value.clone()
                turn.release()
                barrier.wait()
                turn.acquire()
                whole = torch.stack(parts).sum(0)
                turn.release()
                barrier.wait()
                turn.acquire()
                return whole

            turn.acquire()
            try:
                workers = Workers(rank=rank, world=world, all_reduce=total, barrier=lambda: (total(torch.zeros(0)), None)[1])
                states[rank] = self.steps(place, workers=workers)[-1][1]
            except BaseException as error:  # noqa: BLE001 - raised below, where the test sees it
                failed.append(error)
                barrier.abort()
            finally:
                turn.release()

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return [self.method.poison(state, deltas=self.deltas(place), budget=self.budget) for state in states]
