"""Perturbations in files that others wrote or will read.

A file of perturbed images is not read: without the clean ones it does not say what was added.
"""

from ray_ue.perturbations.interchange.files import digest
from ray_ue.perturbations.interchange.reading import Perturbations, open_perturbations
from ray_ue.perturbations.interchange.writing import write

__all__ = ["Perturbations", "digest", "open_perturbations", "write"]
