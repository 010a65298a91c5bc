"""The nodes of a Ray cluster as values, and how many actors, tasks and threads fit on them. It imports no Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from ray_ue.config.recipe import Resources

# CPUs of a task that reads, and of an actor beside it. However many actors Ray packs onto a node of up to 56 CPUs, also when other nodes
# are lost, one reader finds room; were it not so, actors and readers would wait for each other for ever.
READER, BESIDE = 0.05, 0.89


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one node offers: the logical CPUs, the GPUs and the bytes of memory that Ray hands out, and the real cores that its processes
    share."""

    cpus: int
    gpus: int
    cores: int
    memory: float = inf


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The nodes that work can run on; there is always one."""

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        assert self.nodes, "a plan needs a node"

    @classmethod
    def one(cls, *, cpus: int, gpus: int = 0) -> "Machines":
        """A single node."""
        return cls(nodes=(Node(cpus=cpus, gpus=gpus, cores=cpus),))

    @property
    def cpus(self) -> int:
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> int:
        return sum(node.gpus for node in self.nodes)

    @property
    def cores(self) -> int:
        return sum(node.cores for node in self.nodes)

    @property
    def memory(self) -> float:
        """The bytes of the node that has most."""
        return max(node.memory for node in self.nodes)

    def facts(self) -> dict[str, object]:
        """What a result says of the machines that made it."""
        return {"cores": self.cores, "gpus": self.gpus, "nodes": len(self.nodes)}

    def shares(self, share: float) -> int:
        """How many parts of a GPU of that share there are; a part above one takes several GPUs of one node. Two GPUs hold four of 0.4,
        not five."""
        return sum(node.gpus * int(1 / share + 1e-9) if share <= 1 else int(node.gpus / share) for node in self.nodes)

    def hosts(self) -> "Machines":
        """The nodes that work which needs a GPU runs on: those that have one; all, where none has."""
        return Machines(nodes=tuple(node for node in self.nodes if node.gpus) or self.nodes)

    def encoder(self, resources: Resources) -> tuple[int, float]:
        """(actors, GPU share of each): one actor per GPU share, or one per CPU node, which then uses all of that node's cores."""
        if self.gpus:
            return max(1, self.shares(resources.gpus_per_encoder)), resources.gpus_per_encoder
        return len(self.nodes), 0.0

    def train_workers(self, resources: Resources) -> int:
        """Ray Train workers of one training, with a GPU each if there are any; 0 means inside the driver."""
        if resources.workers == "local":
            return 0
        return max(1, self.gpus) if resources.workers == "auto" else int(resources.workers)

    def beside_readers(self, actors: int) -> float:
        """CPUs that each of `actors` may ask for, so that all of them and their readers fit."""
        return min(BESIDE, round(BESIDE * self.hosts().cpus / actors, 3))

    def part(self, share: float) -> "Machines":
        """What a run with this share of the machines may plan for: whole nodes where there are enough, else a part of one."""
        nodes = sorted(self.nodes, key=lambda node: (-node.gpus, -node.cores))
        count = len(nodes) * share
        if count >= 1:
            whole = int(count)
            return Machines(nodes=tuple(nodes[i * len(nodes) // whole] for i in range(whole)))
        largest = nodes[0]
        gpus = max(min(1, largest.gpus), int(largest.gpus * count))
        cpus, cores = max(1, int(largest.cpus * count)), max(1, int(largest.cores * count))
        return Machines(nodes=(Node(cpus=cpus, gpus=gpus, cores=cores, memory=largest.memory * count),))

    def slots(self, *, memory: float = 0.0) -> int:
        """Tasks that fill the cores, which may be fewer than the logical CPUs that Ray was given, and that have `memory` bytes each."""
        return sum(int(min(node.cores, node.memory / memory if memory else inf)) for node in self.nodes)

    def threads(self, resources: Resources, *, tasks: int) -> int:
        """Threads of one task, so that `tasks` of them fill the cores of all nodes; none has more than its node's."""
        return resources.cpus_per_task or max(1, min(ceil(self.cores / max(1, tasks)), most_cores(self.nodes)))


def most_cores(nodes: Sequence[Node]) -> int:
    """The cores of the largest node."""
    return max(node.cores for node in nodes)
