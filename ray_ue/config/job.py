"""`Job`, a checked request to protect that every stage reads."""

from dataclasses import dataclass

from ray_ue.config.recipe import Recipe, Resources
from ray_ue.sources import Source
from ray_ue.storage.artifacts import Folder

MAX_GONE = 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """The source, the folders of the copy and of its private work, the recipe and the resources.

    The copies of a sweep share the stages before crafting: `shared_path` leads from `work` to their common folder; it is empty where
    that folder is `work` itself.
    """

    source: Source
    output: Folder
    work: Folder
    recipe: Recipe
    resources: Resources
    shared_path: str = ""
    anew: bool = False
    """Make the whole copy anew instead of joining new pictures to it."""
    prune: bool = False
    """Remove pictures from the copy that are no longer in the source."""
    max_gone: float = MAX_GONE
    """Largest part of the files of a copy that `prune` and `anew` may remove."""

    @property
    def shared(self) -> Folder:
        return self.work.resolve(self.shared_path) if self.shared_path else self.work
