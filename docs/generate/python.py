"""The reference of the package: which of its names are public, for mkdocstrings to read from the source. It imports none of them."""

from docs.generate.commands import MADE

FUNCTIONS = ("ray_ue.protect", "ray_ue.evaluate", "ray_ue.sweep", "ray_ue.measure")
VALUES = ("ray_ue.Recipe", "ray_ue.Grid", "ray_ue.Measurement", "ray_ue.Resources")
MODULES = (
    "ray_ue.perturbations.budget",
    "ray_ue.grouping.kmeans",
    "ray_ue.objectives.aims",
    "ray_ue.objectives.anchor",
    "ray_ue.objectives.mi_ue",
    "ray_ue.perturbations.pgd",
    "ray_ue.perturbations.base",
    "ray_ue.methods.base",
    "ray_ue.models.pretrained.surrogates",
    "ray_ue.information",
    "ray_ue.information.base",
    "ray_ue.information.sliced",
    "ray_ue.information.scalar",
    "ray_ue.information.mine",
    "ray_ue.information.groupwise",
    "ray_ue.exploiter.relabels",
    "ray_ue.exploiter.defenses.registry",
    "ray_ue.exploiter.dataset",
    "ray_ue.exploiter.supervised",
    "ray_ue.perturbations.interchange",
    "ray_ue.perturbations.interchange.reading",
    "ray_ue.perturbations.interchange.writing",
    "ray_ue.results.tables",
    "ray_ue.results.evaluation",
    "ray_ue.results.information",
    "ray_ue.results.pareto",
)


def page() -> str:
    """One entry per name; what they say is read from the source."""
    parts = [
        f"{MADE}\n\n# Python",
        "`import ray_ue` brings four functions and four values; the functions' keyword arguments are the fields of these values, and the "
        "flags of the [command line](cli.md).",
        "## Functions",
        *map(_entry, FUNCTIONS),
        "## Values",
        *map(_entry, VALUES),
        "## The core",
        "Modules that know no Ray: plain functions and frozen values. They may change between versions; what moves results is in the "
        "[changelog](../changelog.md).",
        *map(_entry, MODULES),
    ]
    return "\n\n".join(parts) + "\n"


def _entry(name: str) -> str:
    return f"::: {name}"
