"""Chaos: a sweep on several nodes while workers, nodes, the head and the command itself are killed at random times, and workers freeze.

Kept out of the default run: `make chaos`. CHAOS_KILLS and CHAOS_SEED say how many kills and which; what happened, and in which stage, is
printed. A worker that freezes for a while is no kill and is counted apart.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import image_bytes, write_classes
from many_nodes import Nodes, nodes

from ray_ue.results.tables import TRIALS
from ray_ue.storage.artifacts import MANIFEST, Folder

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(7200)]

KILLS, SEED = int(os.environ.get("CHAOS_KILLS", "24")), int(os.environ.get("CHAOS_SEED", "0"))
CPUS = (2, 1, 2)
WAYS = {"worker": 8, "node": 3, "freeze": 3, "command": 3, "head": 1}  # and how often, in comparison
FROZEN = 4.0  # seconds
PAUSE = (3.0, 35.0)  # seconds between kills: a command that is killed every half minute never gets anywhere
PARTS, EACH = 8, 30
FLAGS = (
    *(
        "--vary",
        "clusters=2,3",
        "--method=uc",
        "--surrogate=ssl:small",
        "--image-size=32",
        "--ssl-steps=20",
        "--steps=60",
        "--batch=16",
        "--craft-sample=100",
    ),
    *("--evaluate.victims=lenet5", "--evaluate.relabels=identity", "--evaluate.defenses=none", "--evaluate.seeds=2"),
    *("--evaluate.epochs=3", "--concurrent=2"),
)


@dataclass(kw_only=True)
class Storm:
    """What was killed, and what is there to be killed."""

    rng: random.Random
    log: Path
    home: Path = Path()
    killed: Counter[str] = field(default_factory=Counter)
    frozen: int = 0
    stages: Counter[str] = field(default_factory=Counter)  # that were begun and not finished when something was killed

    @property
    def over(self) -> bool:
        return sum(self.killed.values()) >= KILLS

    def underway(self) -> list[str]:
        """The stages that have been begun and not finished, of whichever setting."""
        places = [folder for pattern in ("work/*-*", "copies/*.ray-ue/*-*", "evaluation/*-*") for folder in self.home.glob(pattern)]
        found = {folder.name.split("-")[0] for folder in places if folder.is_dir() and not (folder / MANIFEST).exists()}
        return sorted(found)

    def strike(self, cluster: Nodes, running: subprocess.Popen) -> str:
        """Kill something; returns what. `command` and `head` end the command as well."""
        way, underway = self.rng.choices(list(WAYS), weights=list(WAYS.values()))[0], self.underway()
        if way in ("worker", "freeze"):
            workers = cluster.workers()
            if not workers:
                return ""
            pid, words = self.rng.choice(workers)
            try:
                if way == "worker":
                    os.kill(pid, signal.SIGKILL)
                else:
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(FROZEN)
                    os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                return ""
            way = f"{way} {words.split('::')[1].split()[0].split('.')[0]}"
        elif way == "node":
            place = self.rng.randrange(len(CPUS))
            cluster.order(f"kill {place}")
            cluster.order(f"add {CPUS[place]}")
        elif way == "command":
            running.kill()
        else:
            os.killpg(cluster.process.pid, signal.SIGKILL)
        if way.startswith("freeze"):
            self.frozen += 1
        else:
            self.killed[way.split()[0]] += 1
            self.stages.update(underway)
        print(f"{sum(self.killed.values()):>3}  {way} during {' '.join(underway) or 'none'}", flush=True)
        return way


def sweep(
    source: Path, test: Path, home: Path, surroundings: dict[str, str], *, log: Path, words: tuple[str, ...] = ()
) -> subprocess.Popen:
    command = [sys.executable, "-m", "ray_ue", "sweep", str(source), str(home), "--test", str(test), *FLAGS, *words]
    return subprocess.Popen(command, env=surroundings, stdout=subprocess.DEVNULL, stderr=log.open("a"))


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chaos")
    (root / "source").mkdir()
    for part in range(PARTS):
        cells = [{"bytes": image_bytes(5 * (EACH * part + i) + i % 3), "path": f"{i}.png"} for i in range(EACH)]
        labels = {"label": [i % 3 for i in range(EACH)], "class_name": [("cats", "dogs", "owls")[i % 3] for i in range(EACH)]}
        pq.write_table(pa.table({"image": cells, **labels}), root / "source" / f"part-{part:02d}.parquet")
    write_classes(root / "test", range(500, 530))
    return root


def digest(home: Path) -> dict[str, str]:
    """Every file of every copy, without the private folders."""
    files = sorted(path for path in (home / "copies").rglob("*") if path.is_file() and ".ray-ue/" not in str(path))
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def table(home: Path) -> list[tuple]:
    alike = ("name", "status", "kept", "accuracy", "spread", "n", "levels", "most", "psnr", "images", "fingerprint")
    return [tuple(row[name] for name in alike) for row in TRIALS.read(Folder(str(home))).to_pylist()]


def test_whatever_dies_the_copies_and_the_table_are_those_of_a_quiet_run(collection: Path) -> None:
    source, test, log = collection / "source", collection / "test", collection / "command.log"
    plain = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    assert sweep(source, test, collection / "quiet", plain, log=log).wait() == 0, log.read_text()[-3000:]
    storm, rounds, began = Storm(rng=random.Random(SEED), log=log), 0, time.monotonic()
    while not storm.over:
        home = storm.home = collection / f"stormy-{rounds}"
        weather(storm, source, test, home, log=log)
        assert digest(home) == digest(collection / "quiet"), f"round {rounds}"
        assert table(home) == table(collection / "quiet"), f"round {rounds}"
        rounds += 1
    minutes = (time.monotonic() - began) / 60
    print(f"seed {SEED}: {sum(storm.killed.values())} kills {dict(storm.killed)} and {storm.frozen} freezes in {rounds} sweeps,")
    print(f"in unfinished stages: {dict(storm.stages)} (others while Ray or a command started); {minutes:.0f} minutes; all alike")


def weather(storm: Storm, source: Path, test: Path, home: Path, *, log: Path) -> None:
    """One sweep to its end, through all that happens to it. A command that fails, or that leaves a setting failed, is given again, as a
    user would; without a kill since it was started it must not."""
    while True:
        with nodes(CPUS, log=log) as cluster:
            while (ended := once(storm, cluster, sweep(source, test, home, cluster.surroundings(), log=log))) != "head":
                if ended == "done" and all(row[1] == "done" for row in table(home)):
                    return
                assert ended != "undisturbed", f"failed though nothing was killed: {log.read_text()[-3000:]}"


def once(storm: Storm, cluster: Nodes, running: subprocess.Popen) -> str:
    """Strike until the command has ended; returns how: done, head (which takes all with it), or failed, or undisturbed (failed alone)."""
    struck = []
    while True:
        try:
            code = running.wait(timeout=storm.rng.uniform(*PAUSE))
        except subprocess.TimeoutExpired:
            if storm.over:
                continue
            struck.append(storm.strike(cluster, running))
            if struck[-1] in ("head", "command"):
                running.kill()
                running.wait()
                return struck[-1]
            continue
        return "done" if code == 0 else "failed" if any(struck) else "undisturbed"
