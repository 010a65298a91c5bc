"""Optuna's sampler over a finite space, never at the same setting twice. It knows Ray Tune's searchers, not what is tried."""

import json
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import ray.tune as tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ray_ue.sweeps.space import Axes, Point, points

TRIES = 30  # of the sampler for a setting that was not tried yet, before one is drawn


class Distinct(Searcher):
    """Asks Optuna until it names a setting that is not there yet. `known` ones, finished by an earlier call, are asked for first:
    their trials only report what is written, and the sampler learns from them."""

    def __init__(self, axes: Axes, *, goals: Mapping[str, str], seed: int, known: Sequence[Point]) -> None:
        names, modes = list(goals), list(goals.values())
        super().__init__(metric=names[0], mode=modes[0])
        self.goal = names[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.inner = OptunaSearch(
                space={name: tune.choice(list(values)) for name, values in axes.items()},  # type: ignore[arg-type]
                metric=names if len(names) > 1 else names[0],
                mode=modes if len(modes) > 1 else modes[0],  # type: ignore[arg-type]
                points_to_evaluate=[dict(point) for point in known] or None,
                seed=seed,
            )
        self.every = points(axes)
        self.rng = random.Random(seed)
        self.taken: set[str] = set()
        self.running: dict[str, str] = {}  # the name under which Optuna knows each trial

    def suggest(self, trial_id: str) -> Any:
        left = [point for point in self.every if json.dumps(point, sort_keys=True) not in self.taken]
        for turn in range(TRIES + 1 if left else 0):
            if turn == TRIES:  # the sampler insists on what it knows: it is told what to ask for
                self.inner._ot_study.enqueue_trial(self.rng.choice(left))  # type: ignore[union-attr]
            asked = f"{trial_id}-{turn}"
            point = self.inner.suggest(asked)
            if point is None or point == Searcher.FINISHED:
                return point
            told = json.dumps(point, sort_keys=True)
            if told not in self.taken:
                self.taken.add(told)
                self.running[trial_id] = asked
                return point
            self.inner.on_trial_complete(asked, error=True)
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        self.inner.on_trial_result(self.running[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        whole = result if result and self.goal in result else None  # a setting that failed has reported nothing of use
        self.inner.on_trial_complete(self.running.pop(trial_id), result=whole, error=error or whole is None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep goes on from the folders of its trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing either."""
