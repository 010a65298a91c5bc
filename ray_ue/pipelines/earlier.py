"""A copy that an earlier version made: its pictures keep the patterns of that version's defaults. It imports no Ray."""

import json

from ray_ue.config.recipe import Recipe
from ray_ue.pipelines.generations import History

KEPT = "an earlier version made this copy with other defaults ({}): its patterns stay as they are; --anew makes the copy anew"


def other_defaults(history: History, recipe: Recipe) -> str:
    """What this version would make otherwise of the same flags than was made of the first images of a copy; empty if nothing."""
    from ray_ue.methods.requirements import requirements_of

    if not history.generations:
        return ""
    first = history.chains[0]
    identity = requirements_of(recipe).method.identity()
    before, now = first["craft"].manifest.fields["settings"], json.loads(json.dumps(identity))  # as a manifest keeps it
    told = [f"another value of {name}" for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    clustered = first["cluster"].manifest.fields if "cluster" in first else {}
    told += ["clusters that are not merged"] if clustered.get("clusters") == 0 and "merging" not in clustered else []
    return ", ".join(told)
