"""The folder of each trial, from which a sweep continues."""

import json
import math
import time

from ray_ue.config.recipe import FIELDS, Recipe
from ray_ue.progress import counted, say
from ray_ue.storage.artifacts import Folder, fingerprint, finished, opened
from ray_ue.sweeps import space
from ray_ue.sweeps.request import TRIALS, SweepRequest

VERSION = 2
FAILED, PARTIAL, STOPPED, NOTE = "failed.json", "partial.json", "stopped.json", "now.txt"
NOTED = 2.0  # seconds between two notes of a trial


class Noted:
    """Keeps the last line of a trial's progress in its folder, where the sweep's own process reads it."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.last = folder, -math.inf

    def __call__(self, line: str) -> None:
        if time.monotonic() - self.last >= NOTED:
            self.last = time.monotonic()
            self.folder.write(NOTE, " ".join(line.split()).encode())


def note_of(folder: Folder) -> str:
    """What a trial does now; empty where that is not known."""
    return folder.read(NOTE).decode() if folder.exists(NOTE) else ""


def trial_name(request: SweepRequest, config: dict) -> str:
    """The name of the setting that Tune gives to a trial, by its name or as a point."""
    return str(config.get("name") or space.point_name({axis: config[axis] for axis in request.axes}))


def trial_folder(request: SweepRequest, name: str) -> Folder:
    return request.home.child(TRIALS).child(name)


def trial_fingerprint(request: SweepRequest, recipe: Recipe) -> str:
    """The fingerprint of everything that determines the result of a trial."""
    fields = {"recipe": recipe.values(FIELDS), "grid": request.grid.identity(), "clean": request.digests[0], "test": request.digests[1]}
    return fingerprint("trial", version=VERSION, fields=fields, inputs={})


def is_done(request: SweepRequest, name: str, recipe: Recipe) -> bool:
    folder = trial_folder(request, name)
    return finished(folder) and opened(folder).fingerprint == trial_fingerprint(request, recipe)


def is_stopped(request: SweepRequest, name: str, recipe: Recipe) -> bool:
    """Whether an earlier call stopped this trial early."""
    folder = trial_folder(request, name)
    return folder.exists(STOPPED) and folder.read_json(STOPPED)["identity"] == trial_fingerprint(request, recipe)


def record_failure(request: SweepRequest, name: str, reason: str) -> None:
    """Store why a setting failed; the next call tries it again."""
    text = " ".join(reason.split())[-500:]
    trial_folder(request, name).write_json(FAILED, {"reason": text})
    say(f"  failed   {name}: {text}")


def record_stop(request: SweepRequest, name: str) -> None:
    """Store what a trial that was stopped early has measured so far."""
    folder, identity = trial_folder(request, name), trial_fingerprint(request, request.recipes()[name])
    folder.write_json(STOPPED, folder.read_json(PARTIAL) | {"identity": identity})


def trial_rows(request: SweepRequest) -> list[dict]:
    """One row per tried setting, in the order of the sweep."""
    result, recipes = [], request.recipes()
    for point in request.points():
        name = space.point_name(point)
        folder = trial_folder(request, name)
        row = {"name": name, "point": json.dumps(point), "reason": "", "fingerprint": ""}
        if is_done(request, name, recipes[name]):
            artifact = opened(folder)
            result.append(row | artifact.facts | {"status": "done", "fingerprint": artifact.fingerprint})
        elif folder.exists(FAILED):
            result.append(row | {"status": "failed", "reason": folder.read_json(FAILED)["reason"]})
        elif is_stopped(request, name, recipes[name]):
            facts = {key: value for key, value in folder.read_json(STOPPED).items() if key != "identity"}
            result.append(row | facts | {"status": "stopped", "reason": f"protected less than others after {counted(facts['n'], 'seed')}"})
    return result
