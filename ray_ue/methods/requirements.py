"""What a recipe's method requires: a surrogate, groups, embeddings. The plan and the stages read the same answer."""

from dataclasses import asdict, dataclass
from typing import Literal

from ray_ue.config.recipe import Recipe
from ray_ue.methods import Method, Per, build

Grouping = Literal["kmeans", "label", "none"]


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """The method of a recipe, and what must be there before it crafts."""

    method: Method
    per: Per
    """Whether it gives one perturbation to a group or to every image."""
    groups: Grouping
    """How the rows are grouped; `none`: all of them are one group."""
    embeds: bool
    """Whether every row goes through the surrogate."""

    @property
    def surrogate(self) -> bool:
        """Whether anything looks at the surrogate."""
        return self.embeds or self.method.uses_surrogate


def requirements_of(recipe: Recipe) -> Requirements:
    """The requirements of `recipe`. Imported embeddings are always clustered, since the recipe names them."""
    method = build(recipe.method, asdict(recipe))
    per = method.per if recipe.per == "auto" else recipe.per
    grouped = method.uses_groups or per == "group" or bool(recipe.embeddings)
    groups = recipe.groups if grouped or recipe.groups == "label" else "none"
    return Requirements(
        method=method, per=per, groups=groups, embeds=not recipe.embeddings and (method.uses_surrogate or groups == "kmeans")
    )
