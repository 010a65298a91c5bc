"""The stages of `protect` in order: the only place where a stage's name is written for others."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StageInfo:
    """`what` the stage does, in half a line; `command` says whether the command line has one that runs up to it.

    A stage `per_copy` belongs to one output; all others are shared by copies that are made side by side. Later stages name its artifact
    among their inputs by `role`, where that is not the stage's own name.
    """

    what: str
    command: bool = True
    per_copy: bool = False
    role: str = ""


STAGES: dict[str, StageInfo] = {
    "index": StageInfo(what="list the source, give every image an id"),
    "sample": StageInfo(what="read the images that crafting works on", command=False, role="views"),
    "surrogate": StageInfo(what="train a self-supervised surrogate, where none is given", command=False),
    "embed": StageInfo(what="compute the surrogate's features of every image"),
    "cluster": StageInfo(what="cluster the embeddings with k-means", role="groups"),
    "craft": StageInfo(what="craft the perturbations", per_copy=True, role="poison"),
    "export": StageInfo(what="write the protected copy", per_copy=True),
    "verify": StageInfo(what="read the copy back and prove it again", command=False),
}
LAST = "verify"
FURTHER = "also-"  # begins the role of each grouping beside the first


def stage_of(role: str) -> str:
    """The stage whose artifact is an input called `role`."""
    return next((name for name, stage in STAGES.items() if stage.role == role), role)


def reaches(until: str, stage: str) -> bool:
    """Whether a run up to `until` runs `stage`."""
    names = list(STAGES)
    return names.index(until) >= names.index(stage)
