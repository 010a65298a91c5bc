"""A checked request to protect, which every stage reads."""

from dataclasses import dataclass

from ray_ue.config.recipe import Recipe, Resources
from ray_ue.sources import Source
from ray_ue.storage.artifacts import Folder


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where images come from, where the copy and its private work folder lie, what is asked for and what may be used.

    Copies that are made side by side share the stages before the crafting: `shared_path` leads from `work` to their folder and is empty
    where that is `work` itself.
    """

    source: Source
    output: Folder
    work: Folder
    recipe: Recipe
    resources: Resources
    shared_path: str = ""

    @property
    def shared(self) -> Folder:
        return self.work.near(self.shared_path) if self.shared_path else self.work
