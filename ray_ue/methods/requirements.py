"""What a recipe's method requires: a surrogate, groups, embeddings. The plan and the stages read the same answer."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

from ray_ue.config.recipe import Recipe
from ray_ue.grouping.kmeans import ByLabel, KMeans
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


def refuse_rows(recipe: Recipe, labels: Int64[np.ndarray, " N"]) -> None:
    """Refuse a collection that the groups of `recipe` cannot divide; `labels` has the label of every row, -1 where there is none."""
    groups = requirements_of(recipe).groups
    if groups == "kmeans":
        for clusters in filter(None, (recipe.clusters, *recipe.other_clusters())):
            KMeans(k=clusters).check(len(labels))
    if groups == "label":
        ByLabel().slots(labels, np.ones(len(labels), bool))
