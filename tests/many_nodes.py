"""Several Ray nodes on one machine, in a process of their own that takes orders on standard input: `kill NUMBER`, `add CPUS`.

Run as a script it is that process; imported, `nodes()` starts one and speaks to it. The head offers no CPU, as on a real Ray cluster.
A node is its number of CPUs, or CPUS:GPUS for one that says it has GPUs, which is enough to see where work lands.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 2**20
SURROUNDINGS = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_AUTH_MODE": "disabled",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_num_workers_soft_limit": "6",
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    "OMP_NUM_THREADS": "1",
}


@dataclass(kw_only=True)
class Nodes:
    """A running cluster, seen from outside."""

    process: subprocess.Popen[str]
    address: str

    def order(self, words: str) -> str:
        """Give one order; returns the answer, once it is carried out."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        return answer(self.process)

    def surroundings(self) -> dict[str, str]:
        """The environment of a process that is to join."""
        return os.environ | SURROUNDINGS | {"RAY_ADDRESS": self.address}

    def raylets(self) -> list[int]:
        """Process ids, the head's first."""
        return [int(word) for word in self.order("raylets").split()]

    def workers(self, node: int | None = None) -> list[tuple[int, str]]:
        """(process id, what it is) of every worker process of every node, or of one; the head is node 0."""
        raylets = self.raylets()
        homes = set(raylets if node is None else [raylets[node]])
        told = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        found = [line.split(None, 2) for line in told.splitlines()[1:]]
        return [(int(pid), words) for pid, parent, words in found if int(parent) in homes and "ray::" in words]


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("> "):
            return line[2:].strip()
    raise AssertionError("the cluster's process ended; its last words are on standard error")


@contextmanager
def nodes(cpus: Sequence[int | str], *, store: int = 150, log: Path) -> Iterator[Nodes]:
    """A head without CPUs and one node for each of `cpus`; `store` MiB of object store on each."""
    with log.open("a") as told:
        process = subprocess.Popen(
            [sys.executable, __file__, str(store), *map(str, cpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | SURROUNDINGS,
            start_new_session=True,
        )
        try:
            yield Nodes(process=process, address=answer(process))
        finally:
            # At once: asked politely, every node drains for half a minute. A worker ends when its raylet is gone.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    """Build the cluster, say where it is, and carry out orders until the input ends."""
    from ray.cluster_utils import Cluster

    store, *cpus = sys.argv[1:]

    def say(text: str) -> None:
        print(f"> {text}", flush=True)

    size: dict[str, Any] = {"object_store_memory": int(store) * MIB}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **size})

    def add(words: str) -> Any:
        count, _, gpus = words.partition(":")
        return cluster.add_node(num_cpus=int(count), num_gpus=int(gpus or 0), **size)

    others = [add(words) for words in cpus]
    cluster.wait_for_nodes()
    say(str(cluster.address))
    for line in sys.stdin:
        order, *values = line.split()
        if order == "kill":
            cluster.remove_node(others.pop(int(values[0])), allow_graceful=False)
            say("gone")
        elif order == "add":
            others.append(add(values[0]))
            say("there")
        elif order == "raylets":
            homes = [cluster.head_node, *others]
            say(" ".join(str(node.all_processes["raylet"][0].process.pid) for node in homes if node.all_processes.get("raylet")))
        else:
            break
    cluster.shutdown()


if __name__ == "__main__":
    main()
