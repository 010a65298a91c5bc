"""The perturbations of a copy, written for other tools."""

import os
from pathlib import Path
from typing import Literal

from ray_ue.config.job import Job
from ray_ue.config.recipe import AUTOMATIC
from ray_ue.config.stages import BANK
from ray_ue.pipelines.generations import History
from ray_ue.pipelines.protect import reopen
from ray_ue.storage.addresses import local_path
from ray_ue.storage.artifacts import MANIFEST, Folder, finished


def take_perturbations(output: str, file: str, *, unit: Literal["levels", "fraction"]) -> str:
    """Write the perturbations of a copy to `file` in a format that other tools read; returns what was written, for people.

    Those of pictures that joined a copy in which every image has its own are files of their own, `NAME-2`, `NAME-3` and so on.
    """
    from ray_ue.perturbations import open_poison_file
    from ray_ue.perturbations.interchange import write

    told = []
    for bank, target in find_perturbations(output, file):
        poison = open_poison_file(bank.fetch(BANK))
        draft = target.with_name(f".draft-{target.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(poison, draft, unit=unit)
            draft.replace(target)
        finally:
            Folder(str(draft)).remove()
        told.append(f"{poison.slots:,} perturbations of up to {poison.most} levels in {target}")
    return f"{'; '.join(told)}; whoever has them can undo the protection"


def find_perturbations(output: str, file: str) -> list[tuple[Folder, Path]]:
    """The folders with the perturbations of a copy, oldest first, and where they shall be written; a `ValueError` if that cannot be."""
    job = reopen(output, resources=AUTOMATIC)
    first = local_path(file)
    for public in (job.output, Folder.at(job.source.root)):
        if public.local and Path(os.path.realpath(first)).is_relative_to(os.path.realpath(public.uri)):
            raise ValueError(f"{first} lies in {public.uri}: whoever gets that folder could undo the protection; name another place")
    banks = banks_of(job)
    places = [
        (bank, first if number == 1 else first.with_name(f"{first.stem}-{number}{first.suffix}")) for number, bank in enumerate(banks, 1)
    ]
    for _, target in places:
        if target.exists():
            raise ValueError(f"{target} is there already; name a new file or folder")
    return places


def banks_of(job: Job) -> list[Folder]:
    """The perturbations that the copy holds, oldest first; of a copy that was not written yet the newest that were crafted."""
    if (history := History.of(job)).generations:
        return list({chain["craft"].folder.uri: chain["craft"].folder for chain in history.chains}.values())
    crafted = [job.work.child(name) for name in job.work.names() if name.startswith("craft-") and finished(job.work.child(name))]
    if not crafted:
        raise ValueError(f"{job.work.uri} holds no finished perturbations; run ray-ue protect or ray-ue craft first")
    return [max(crafted, key=lambda folder: folder.modified(MANIFEST))]
