"""Ray nodes in network namespaces of their own, joined by a bridge, so that a cable can be cut while every process goes on.

Needs the rights to make namespaces (root, or CAP_SYS_ADMIN and CAP_NET_ADMIN) and iproute2.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from many_nodes import MIB, SURROUNDINGS

NET = "10.203.17"
PORT = 6379


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def able() -> bool:
    """Whether namespaces can be made here."""
    name = f"ue{os.getpid()}t"
    if shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


@dataclass(frozen=True, kw_only=True)
class Apart:
    """A running cluster; node 0 is the head, which offers no CPU."""

    names: tuple[str, ...]
    switch: str

    def surroundings(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return kept | SURROUNDINGS | {"RAY_ADDRESS": f"{NET}.1:{PORT}"}

    def beside_the_head(self, words: Sequence[str]) -> list[str]:
        """The command line that runs `words` in the head's network."""
        return ["ip", "netns", "exec", self.names[0], *words]

    def cut(self, node: int) -> None:
        """Nothing reaches the node any more; its processes go on."""
        ip("-n", self.switch, "link", "set", f"v{node}", "down")


@contextmanager
def nodes_apart(cpus: Sequence[int], *, store: int = 150, log: Path) -> Iterator[Apart]:
    """A head without CPUs and one node for each of `cpus`, each with `store` MiB of object store."""
    mark = f"ue{os.getpid()}"
    switch, names = f"{mark}s", tuple(f"{mark}n{number}" for number in range(len(cpus) + 1))
    running: list[subprocess.Popen[bytes]] = []
    try:
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "br0", "type", "bridge")
        ip("-n", switch, "link", "set", "br0", "up")
        for number, name in enumerate(names):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"v{number}", "netns", switch)
            ip("-n", name, "addr", "add", f"{NET}.{number + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", switch, "link", "set", f"v{number}", "master", "br0", "up")
        made = Apart(names=names, switch=switch)
        with log.open("ab") as told:
            for number, (name, count) in enumerate(zip(names, (0, *cpus))):
                where = ["--head", f"--port={PORT}", "--include-dashboard=false"] if number == 0 else [f"--address={NET}.1:{PORT}"]
                words = [f"{Path(sys.executable).parent}/ray", "start", *where, f"--node-ip-address={NET}.{number + 1}", "--block"]
                words += [f"--num-cpus={count}", f"--object-store-memory={store * MIB}", "--disable-usage-stats"]
                surroundings = {name: value for name, value in made.surroundings().items() if name != "RAY_ADDRESS"}
                start = ["ip", "netns", "exec", name, *words]
                running.append(subprocess.Popen(start, env=surroundings, stdout=told, stderr=told, start_new_session=True))
                wait(made, number)  # one after the other: a node that does not start within 30 s gives up
        yield made
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for name in (*names, switch):
            end(name)


def end(name: str) -> None:
    """End what still runs in a namespace of ours, and remove it."""
    told = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
    for pid in map(int, told.split()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


COUNT = "import ray; ray.init(log_to_driver=False, logging_level='ERROR'); print(sum(node['Alive'] for node in ray.nodes()) - 1)"


def wait(made: Apart, count: int) -> None:
    """Until the head answers and `count` other nodes have joined."""
    deadline, seen = time.monotonic() + 120, ""
    while time.monotonic() < deadline:
        words = made.beside_the_head([sys.executable, "-c", COUNT])
        asked = subprocess.run(words, env=made.surroundings(), capture_output=True, text=True, check=False, timeout=60)
        seen = (asked.stdout + asked.stderr)[-300:]
        if asked.returncode == 0 and int(asked.stdout.split()[-1]) >= count:
            return
        time.sleep(0.5)
    raise AssertionError(f"{count} nodes did not join in time: {seen}")
