"""Waves in colour per group, moved from picture to picture: a pattern that is ours, and needs no crafting."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ray_ue.loop import Step, Workers, no_loss
from ray_ue.methods._shared.far_apart import CANDIDATES, far_apart
from ray_ue.methods._shared.proxy_victim import ProxyVictim, proxy_passes
from ray_ue.methods.base import Aimed, Method, View
from ray_ue.perturbations import Poison, Waves
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.random_streams import STREAMS
from ray_ue.registry import pick

# What the waves of a palette change. Shades: brightness, and four ways to change colour at a brightness that stays about the same. Corners:
# brightness, and the three other diagonals of the colour cube, which use the whole budget of every channel; their hues lie far apart.
PALETTES = {
    "shades": np.array([[1, 1, 1], [1, -1, 0], [-0.5, -0.5, 1], [1, 0, -1], [0, 1, -1]], np.float64),
    "corners": np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float64),
}
DIRECTIONS, FREQUENCIES = 6, 3
MOST_TRIES = 100
MOST_BEND = 0.2  # more turns a wave's direction by more than a right angle

Sets = Int[np.ndarray, "_ K"]


@dataclass(frozen=True, kw_only=True)
class Texture(Method):
    """`waves` plane waves per group, out of many that differ in direction, frequency and colour; groups keep away from each other.

    `colours` are `corners` (72 waves) or `shades` (90). Frequencies lie between `slowest` and `fastest` periods per shorter side. `gain`
    times the waves' root mean square, cut off at the budget, is what a picture gets: more is nearer to two-level stripes, stronger and
    easier to see. A picture's key moves its waves, so that averaging the pictures of a group finds nothing; `bend` bends their crests, so
    that a picture's spectrum shows no line. With an entry per image, each image has its group's waves.

    With `tries` above 1 so many random choices of waves are compared: for each, a small network is trained on some perturbed images and
    tested on clean ones, and the choice that teaches it least is taken. Its labels are the first of
    `--also-clusters`; with `--groups label` they are the labels.
    """

    per = "group"
    multi_grouping = True
    waves: int = 2
    slowest: float = 4.5
    fastest: float = 8.0
    gain: float = 1.5
    bend: float = 0.045
    colours: str = "corners"
    tries: int = 1

    def __post_init__(self) -> None:
        most = DIRECTIONS * FREQUENCIES * len(pick(PALETTES, self.colours, what="palette of texture"))
        if not 1 <= self.waves <= most:
            raise ValueError(f"texture has 1 to {most} waves, got {self.waves}")
        if not 0 < self.slowest <= self.fastest < 1000 or not 0 < self.gain < 1000:
            given = f"slowest={self.slowest:g}, fastest={self.fastest:g} and gain={self.gain:g}"
            raise ValueError(f"texture needs 0 < slowest <= fastest and a gain above 0, all below 1000, got {given}")
        if not 0 <= self.bend <= MOST_BEND:
            raise ValueError(f"texture's bend is a part of the shorter side from 0 to {MOST_BEND}, got {self.bend:g}")
        if not 1 <= self.tries <= MOST_TRIES:
            raise ValueError(f"tries is a number of choices of waves from 1 to {MOST_TRIES}, got {self.tries}")

    @property
    def trains_proxies(self) -> bool:
        return self.tries > 1

    def identity(self) -> dict[str, object]:
        """Without settings at what they were before there were such: banks keep their names."""
        before = (("tries", 1), ("bend", 0), ("colours", "shades"))
        return {name: value for name, value in super().identity().items() if (name, value) not in before}

    def passes(self, rows: int) -> int:
        return 0 if self.tries == 1 else self.tries * proxy_passes(rows)

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        if self.tries == 1:
            if not resume:
                yield Step(step=1, steps=1, loss_of=no_loss, images=0, state=lambda: self._draw(view, seed=seed, turn=0))
            return
        proxy = ProxyVictim.of(view, seed=seed)
        best, least = dict(resume), float(resume.get("learnt", 2.0))
        for turn in range(int(resume.get("turn", 0)), self.tries):
            state = self._draw(view, seed=seed, turn=turn)
            learnt = proxy.learnt(self.poison(state, deltas=view.deltas, budget=budget))
            if learnt < least:
                best, least = state, learnt
            best |= {"turn": torch.tensor(turn + 1), "learnt": torch.tensor(least, dtype=torch.float64)}
            images, told = (turn + 1) * proxy.passes, partial(float, least)
            yield Step(step=turn + 1, steps=self.tries, loss_of=told, images=images, state=partial(dict, best))

    def _draw(self, view: View, *, seed: int, turn: int) -> dict[str, Tensor]:
        """A random choice of waves for every slot; equal turns give equal ones."""
        rng = np.random.default_rng([seed, STREAMS["texture/waves"], *([turn] if turn else [])])
        angles, speeds, colours = self._bank()
        chosen = _far_apart(view.groups, self.waves, distance=_distances(angles, speeds, colours), rng=rng)
        cycles = np.stack([np.cos(angles), np.sin(angles)], 1) * speeds[:, None]
        phases = rng.uniform(0, 2 * np.pi, chosen.shape)
        of_slot = view.group_of_slot()
        arrays = {"cycles": cycles[chosen], "colours": PALETTES[self.colours][colours][chosen], "phases": phases}
        state = {name: torch.from_numpy(values[of_slot].astype(np.float32)) for name, values in arrays.items()}
        return state | {"salt": torch.tensor(int(rng.integers(2**62)))}

    def poison(self, state: Mapping[str, Tensor], *, deltas: DeltaTable, budget: Budget) -> Poison:
        arrays = {name: state[name].cpu().numpy() for name in ("cycles", "colours", "phases")}
        return Waves(**arrays, gain=self.gain, bend=self.bend, salt=int(state["salt"]), budget=budget)

    def _bank(self) -> tuple[Float[np.ndarray, " W"], Float[np.ndarray, " W"], Int[np.ndarray, " W"]]:
        """(direction in radians, periods per shorter side, row of the palette) of every wave that there is."""
        steps = np.arange(DIRECTIONS) * np.pi / DIRECTIONS + 0.2  # none along an axis, where edges and JPEG's blocks lie
        angles, speeds, colours = np.meshgrid(
            steps, np.geomspace(self.slowest, self.fastest, FREQUENCIES), np.arange(len(PALETTES[self.colours])), indexing="ij"
        )
        return angles.ravel(), speeds.ravel(), colours.ravel()


def _distances(
    angles: Float[np.ndarray, " W"], speeds: Float[np.ndarray, " W"], colours: Int[np.ndarray, " W"]
) -> Float[np.ndarray, "W W"]:
    """How easily two waves are told apart: steps of direction (two at most), steps of frequency, and a half for another colour.

    Jitter changes colours and leaves directions, so that directions count for more.
    """
    turn = np.abs((angles[:, None] - angles + np.pi / 2) % np.pi - np.pi / 2) / (np.pi / DIRECTIONS)
    places = np.unique(np.log(speeds).round(9), return_inverse=True)[1]
    return np.minimum(2, turn) + np.abs(places[:, None] - places) + 0.5 * (colours[:, None] != colours)


def _far_apart(groups: int, waves: int, *, distance: Float[np.ndarray, "W W"], rng: np.random.Generator) -> Sets:
    """`waves` different waves for each group: of some random sets the one that differs most from the nearest group before it."""

    def draw() -> Sets:
        return np.stack([rng.permutation(len(distance))[:waves] for _ in range(CANDIDATES)])

    def nearest(candidates: Sets, before: Sets) -> Float[np.ndarray, " _"]:
        pairs = distance[candidates[:, None, :, None], before[None, :, None, :]]  # [candidates, before, K, K]
        return (pairs.min(3).sum(2) + pairs.min(2).sum(2)).min(1)

    return far_apart(groups, draw=draw, nearest=nearest)
