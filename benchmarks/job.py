"""Runs the product's own stages for a benchmark and reads the clock from the files they leave, so that nothing in them is changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ray_ue.config.recipe import Recipe, Resources
from ray_ue.engine.session import session
from ray_ue.engine.stage import Run
from ray_ue.pipelines.protect_stages import stages_of
from ray_ue.sources import open_source
from ray_ue.storage.artifacts import Artifact, Folder


@contextmanager
def job(source: Path, root: Path, *, recipe: Recipe) -> Iterator[Run]:
    """A run over `source` inside a Ray session, with its copy and its work under `root`."""
    recipe.check()
    with session() as machines:
        yield Run(
            source=open_source(str(source)),
            output=Folder.at(str(root / "copy")),
            work=Folder.at(str(root / "work")),
            recipe=recipe,
            resources=Resources(),
            machines=machines,
        )


class Stages:
    """The stages of a run, one after the other, as far as they are asked for."""

    def __init__(self, run: Run) -> None:
        self._left = stages_of(run)
        self.done: dict[str, Artifact] = {}

    def until(self, last: str) -> dict[str, Artifact]:
        """The artifacts by name once stage `last` is over."""
        for name, made in self._left:
            self.done |= made
            if name == last:
                return self.done
        raise ValueError(f"no stage is called {last!r}, or it is over already")


def finished_at(folder: Path) -> np.ndarray:
    """Seconds since the epoch at which each file below `folder` was finished, in order."""
    return np.sort([path.stat().st_mtime for path in folder.rglob("*") if path.is_file()])


def steady_rate(times: np.ndarray, *, margin: float) -> float:
    """Items per second between the first and the last `margin` of them: what a long run does, without its start and its tail."""
    skipped = int(len(times) * margin)
    inside = times[skipped : len(times) - skipped]
    return float((len(inside) - 1) / (inside[-1] - inside[0]))
