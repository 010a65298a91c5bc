"""Optuna's sampler over a finite space, without repetitions, as a searcher of Ray Tune."""

import json
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import ray.tune as tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ray_ue.sweeps.space import Axes, Point, list_points

TRIES = 30  # attempts of the sampler at an untried setting, before one is drawn at random


class DistinctSearcher(Searcher):
    """Asks Optuna until it suggests an untried setting. The `known` ones, finished by an earlier call, come first: their trials only
    report the stored results, so that the sampler learns from them."""

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
        self.every = list_points(axes)
        self.rng = random.Random(seed)
        self.taken: set[str] = set()
        self.running: dict[str, str] = {}  # the name of each trial in Optuna

    def suggest(self, trial_id: str) -> Any:
        untried = [point for point in self.every if json.dumps(point, sort_keys=True) not in self.taken]
        for turn in range(TRIES + 1 if untried else 0):
            if turn == TRIES:  # the sampler repeats itself: set its next suggestion
                self.inner._ot_study.enqueue_trial(self.rng.choice(untried))  # type: ignore[union-attr]
            inner_id = f"{trial_id}-{turn}"
            point = self.inner.suggest(inner_id)
            if point is None or point == Searcher.FINISHED:
                return point
            key = json.dumps(point, sort_keys=True)
            if key not in self.taken:
                self.taken.add(key)
                self.running[trial_id] = inner_id
                return point
            self.inner.on_trial_complete(inner_id, error=True)
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        self.inner.on_trial_result(self.running[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        whole = result if result and self.goal in result else None  # a failed setting has reported no result
        self.inner.on_trial_complete(self.running.pop(trial_id), result=whole, error=error or whole is None)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a sweep continues from the folders of its trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as `save` does."""
