"""Records of a sweep: the folder of each trial, and what it says of it. They are what a sweep goes on from. It knows no Ray."""

import json
from dataclasses import asdict

from ray_ue.config.recipe import FIELDS, Recipe
from ray_ue.progress import say
from ray_ue.storage.artifacts import Folder, fingerprint, finished, opened
from ray_ue.sweeps import space
from ray_ue.sweeps.request import TRIALS, SweepRequest

VERSION = 1
FAILED, PARTIAL, STOPPED = "failed.json", "partial.json", "stopped.json"


def trial_folder(made: SweepRequest, name: str) -> Folder:
    return made.home.child(TRIALS).child(name)


def identity(made: SweepRequest, recipe: Recipe) -> str:
    """What a trial's result is a function of."""
    fields = {"recipe": recipe.values(FIELDS), "grid": asdict(made.grid), "clean": made.digests[0], "test": made.digests[1]}
    return fingerprint("trial", version=VERSION, fields=fields, inputs={})


def done(made: SweepRequest, name: str, recipe: Recipe) -> bool:
    folder = trial_folder(made, name)
    return finished(folder) and opened(folder).fingerprint == identity(made, recipe)


def stopped(made: SweepRequest, name: str, recipe: Recipe) -> bool:
    """Whether an earlier call stopped this very trial early."""
    folder = trial_folder(made, name)
    return folder.exists(STOPPED) and folder.read_json(STOPPED)["identity"] == identity(made, recipe)


def fail(made: SweepRequest, name: str, reason: str) -> None:
    """Keep why a setting failed; the next call tries it again."""
    told = " ".join(reason.split())[-500:]
    trial_folder(made, name).write_json(FAILED, {"reason": told})
    say(f"  failed   {name}: {told}")


def rows(made: SweepRequest) -> list[dict]:
    """One row per setting that was tried, in the sweep's order."""
    found, recipes = [], made.recipes()
    for point in made.points():
        name = space.name_of(point)
        folder = trial_folder(made, name)
        row = {"name": name, "point": json.dumps(point), "reason": "", "fingerprint": ""}
        if done(made, name, recipes[name]):
            artifact = opened(folder)
            found.append(row | artifact.facts | {"status": "done", "fingerprint": artifact.fingerprint})
        elif folder.exists(FAILED):
            found.append(row | {"status": "failed", "reason": folder.read_json(FAILED)["reason"]})
        elif stopped(made, name, recipes[name]):
            facts = {key: value for key, value in folder.read_json(STOPPED).items() if key != "identity"}
            found.append(row | facts | {"status": "stopped", "reason": f"protected less than others after {facts['n']} seed(s)"})
    return found
