"""The stages of `protect` in order; other modules take the names of stages from here."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StageInfo:
    """`what` describes the stage in half a line; `command` says whether a command runs up to it.

    A stage with `per_copy` belongs to one output; copies of one sweep share all others. Later stages name its artifact among their
    inputs by `role`, or by the name of the stage where `role` is empty.
    """

    what: str
    command: bool = True
    per_copy: bool = False
    role: str = ""


STAGES: dict[str, StageInfo] = {
    "index": StageInfo(what="list the source, give every image an id"),
    "sample": StageInfo(what="read the images that crafting works on", command=False, role="views"),
    "surrogate": StageInfo(what="train a self-supervised surrogate, if none is given", command=False),
    "embed": StageInfo(what="compute the surrogate's features of every image"),
    "cluster": StageInfo(what="cluster the embeddings with k-means", role="groups"),
    "craft": StageInfo(what="craft the perturbations", per_copy=True, role="poison"),
    "export": StageInfo(what="write the protected copy", per_copy=True),
    "verify": StageInfo(what="read the copy back and verify it", command=False),
}
LAST = "verify"
GENERATIONS = "generations.json"  # in the private work folder of a copy: which runs wrote into it
BANK = "bank.safetensors"  # in the artifact of a crafting: the perturbations
FURTHER = "also-"  # prefix of the role of each grouping after the first


def stage_of(role: str) -> str:
    """The stage whose artifact is an input called `role`."""
    return next((name for name, stage in STAGES.items() if stage.role == role), role)


def reaches(until: str, stage: str) -> bool:
    """Whether a run up to `until` runs `stage`."""
    names = list(STAGES)
    return names.index(until) >= names.index(stage)
