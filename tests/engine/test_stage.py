"""Finished work is opened, unfinished work is built, and two that come to the same work at once do it once."""

import threading
import time
from pathlib import Path

import pytest

from ray_ue.engine.stage import Run, stage
from ray_ue.storage.artifacts import Artifact, Folder

NOTHING: dict[str, Artifact] = {}


def views(root: Path, build) -> Artifact:
    run = object.__new__(Run)  # only its folders matter
    for name, value in (("work", Folder(str(root))), ("shared_path", "")):
        object.__setattr__(run, name, value)
    return stage(run, "views", version=1, fields={}, inputs=NOTHING, build=build)


def test_two_that_come_to_the_same_work_do_it_once(tmp_path: Path) -> None:
    built, found = [], []

    def build(folder: Folder) -> dict:
        built.append(time.sleep(0.2))
        folder.write("pixels", b"x")
        return {"rows": 1}

    together = [threading.Thread(target=lambda: found.append(views(tmp_path, build))) for _ in range(3)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert len(built) == 1
    assert [artifact.facts for artifact in found] == 3 * [{"rows": 1}]
    assert sorted(path.name for path in next(tmp_path.iterdir()).iterdir()) == ["manifest.json", "pixels"]


def test_work_that_failed_is_done_by_the_next(tmp_path: Path) -> None:
    def fail(folder: Folder) -> dict:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        views(tmp_path, fail)
    assert views(tmp_path, lambda folder: {"rows": 2}).facts == {"rows": 2}
