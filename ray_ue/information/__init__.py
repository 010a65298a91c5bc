"""Estimators of the mutual information between paired features, in nats; each is a frozen value."""

from ray_ue.information.base import Estimator, Information
from ray_ue.information.groupwise import ETA, Groupwise, groupwise
from ray_ue.information.mine import Mine
from ray_ue.information.sliced import Histogram, Kde, Knn, directions

# In order of cost: 0.3, 1.8, 9.6 and 59 seconds for 10,000 pairs of 512 numbers on one core.
ESTIMATORS: dict[str, Estimator] = {"histogram": Histogram(), "knn": Knn(), "kde": Kde(), "mine": Mine()}

__all__ = ["ESTIMATORS", "ETA", "Estimator", "Groupwise", "Histogram", "Information", "Kde", "Knn", "Mine", "directions", "groupwise"]
