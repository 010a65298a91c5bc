"""A checked request to evaluate, which every stage of an evaluation reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ray_ue.config.grid import AUTO, ORDER, Grid
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.config.schedules import OURS
from ray_ue.sources import Source, open_source
from ray_ue.stages.evaluate.copies import ProtectedCopy
from ray_ue.storage.artifacts import Folder

REQUEST = "run.json"  # what was asked, in a run folder


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationJob:
    """Copies, the clean source and the test set; the grid; the folder `home` that the run writes, and `cells`, where victims lie.

    Trials of a sweep share `cells`; `parts` says which kinds of cells are trained, `pictured` of which copies the page shows images.
    `sources` holds what was opened when the request was checked, by its address, so that nothing is listed twice.
    """

    copies: list[ProtectedCopy]
    clean: str
    test: str
    grid: Grid
    home: Folder
    recipe: Recipe  # of reading: format, limits, and the exploiter's encoder as its surrogate
    resources: Resources
    cells: Folder
    pictured: tuple[str, ...]
    parts: tuple[str, ...] = ORDER
    held_out: float = 0.0  # of the clean rows: the test images, where `test` is the clean source itself
    sources: Mapping[str, Source] = field(default_factory=dict)

    def trained_on(self, *, gpus: int) -> "EvaluationJob":
        """The same job with the way of training that an earlier call has taken, or that suits machines with that many GPUs; work in the
        driver's process uses none."""
        before = self.home.read_json(REQUEST)["request"].get("training") if self.home.exists(REQUEST) else ""
        if before in OURS and self.grid.training == AUTO:
            return replace(self, grid=replace(self.grid, training=before))
        return replace(self, grid=self.grid.trained_on(gpus=0 if self.resources.workers == "local" else gpus))

    def source(self, address: str) -> Source:
        """The images at `address`."""
        return self.sources.get(address) or open_source(address, format=self.recipe.format)
