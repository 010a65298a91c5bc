"""Where each stage of a run would work on a described Ray cluster: how many tasks, actors and workers, on what, with how many threads."""

import re
from math import inf
from pathlib import Path

import yaml

from ray_ue.config.recipe import Recipe, Resources
from ray_ue.engine.machines import Machines, Node
from ray_ue.images.memory import READING, WRITING
from ray_ue.progress import counted, format_bytes

KIND = re.compile(r"(\d+)x(\d+)(?:\+(\d+))?(?:@(\d+)(?:G|GB|GiB)?)?", re.IGNORECASE)
EXAMPLE = "8x32+1 (eight nodes of 32 CPUs and a GPU), 8x32+1@128 (with 128 GiB of memory), 2x32+1,4x16 (of two kinds) or cluster.yaml"
MOST = 10_000  # nodes of one kind


def described_cluster(text: str) -> Machines:
    """The nodes that a text or the file of a `ray up` describes; a `ValueError` says what would have worked.

    Of a file all nodes count that may start: as many as `max_workers` allows, those with the highest priority first.
    """
    nodes = nodes_of_file(Path(text)) if text.endswith((".yaml", ".yml")) else nodes_of_text(text)
    if not nodes:
        raise ValueError(f"--nodes {text} has no node with a CPU, so that nothing could run; write for example {EXAMPLE}")
    return Machines(nodes=nodes)


def nodes_of_text(text: str) -> tuple[Node, ...]:
    """`COUNTxCPUS+GPUS@GIB`, several kinds divided by commas; where no memory is stated it is no limit."""
    nodes: list[Node] = []
    for part in text.replace(" ", "").split(","):
        if (found := KIND.fullmatch(part)) is None or int(found[1]) > MOST:
            raise ValueError(f"--nodes {text}: {part!r} describes no nodes; write for example {EXAMPLE}")
        count, cpus, gpus = int(found[1]), int(found[2]), int(found[3] or 0)
        memory = int(found[4]) * 2**30 if found[4] else inf
        nodes += [Node(cpus=cpus, gpus=gpus, cores=cpus, memory=memory)] * (count if cpus else 0)
    return tuple(nodes)


def nodes_of_file(path: Path) -> tuple[Node, ...]:
    """The nodes that the file of a `ray up` may start."""
    try:
        config = yaml.safe_load(path.read_text())
        kinds, head, most = config["available_node_types"], config["head_node_type"], int(config["max_workers"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"--nodes {path} is no file of ray up ({type(error).__name__}: {error}); write for example {EXAMPLE}") from error
    nodes, left = [described_node(path, head, kinds[head])], most
    for name in sorted((name for name in kinds if name != head), key=lambda name: -kinds[name].get("priority", 0)):
        count = min(left, int(kinds[name].get("max_workers", most)))
        nodes += [described_node(path, name, kinds[name])] * count
        left -= count
    return tuple(node for node in nodes if node.cpus)


def described_node(path: Path, name: str, kind: dict) -> Node:
    """One node of a kind. Without stated CPUs Ray looks them up by instance type, which needs the cloud."""
    resources = kind.get("resources") or {}
    if "CPU" not in resources:
        raise ValueError(f"--nodes {path}: the node type {name} states no CPUs; write its resources, as {{CPU: 32, GPU: 1}}")
    cpus, memory = int(resources["CPU"]), float(resources.get("memory", inf))
    return Node(cpus=cpus, gpus=int(resources.get("GPU", 0)), cores=cpus, memory=memory)


def describe_machines(machines: Machines) -> str:
    kinds: dict[Node, int] = {}
    for node in machines.nodes:
        kinds[node] = kinds.get(node, 0) + 1
    return f"{len(machines.nodes)}: {', '.join(f'{count} of {describe_node(node)}' for node, count in kinds.items())}"


def describe_node(node: Node) -> str:
    memory = f" and {format_bytes(node.memory)}" if node.memory < inf else ""
    return f"{node.cpus} CPUs{',' if memory else ' and'} {node.gpus or 'no'} GPU{'s' if node.gpus > 1 else ''}{memory}"


def protect_placement(
    recipe: Recipe, resources: Resources, machines: Machines, *, rows: int, shards: int, largest: int = 0
) -> dict[str, str]:
    """{stage: where it runs} of a protected copy whose largest picture has `largest` pixels; the numbers come from the functions that
    the stages themselves ask. A `ValueError` if no node has the memory for it."""
    from ray_ue.methods.requirements import requirements_of
    from ray_ue.stages.protect.craft import fitting_resources
    from ray_ue.stages.protect.fit_clusters import fits_here
    from ray_ue.stages.protect.memory import share_out

    needs, part = requirements_of(recipe), machines.part(resources.part)
    chunks = max(1, shards)
    actors, share = part.encoder(resources)
    notes: list[str] = []

    def pictures(tasks: int, per_pixel: int) -> tuple[int, int]:
        limits = recipe.limits()
        return share_out(part, resources, tasks=tasks, per_pixel=per_pixel, limits=limits, largest=lambda: largest, tell=notes.append)

    lines = {"index": tasks_line(part, min(chunks, part.slots()), 1)}
    lines["sample"] = tasks_line(part, *pictures(chunks, READING))
    if needs.surrogate and recipe.surrogate.startswith("ssl:"):
        lines["surrogate"] = workers_line(part, resources)
    if needs.embeds:
        decoders = max(2, part.hosts().threads(resources, tasks=actors))
        together, _ = pictures(actors * decoders, READING)
        threads = max(1, min(decoders, together // max(1, actors)))
        each = f"{counted(threads, 'thread')} each that decode"
        lines["embed"] = f"up to {counted(actors, 'actor')} {on(part, share)}, {each}, beside {actors + 1} readers"
    if needs.embeds or recipe.embeddings:
        fit = "in the driver" if fits_here(min(rows, recipe.fit_sample)) else f"in one task {on(part, float(min(1, part.gpus)))}"
        lines["cluster"] = f"k-means {fit}; then {tasks_line(part, part.slots(), 1)}"
    lines["craft"] = workers_line(part, fitting_resources(resources, needs, rows=rows, machines=part))
    lines["export"] = tasks_line(part, *pictures(chunks, WRITING[recipe.image_format]))
    lines["verify"] = tasks_line(part, *pictures(part.slots(), READING))
    return lines | ({"memory": notes[-1]} if notes else {})


def evaluate_placement(resources: Resources, machines: Machines, *, cells: int) -> dict[str, str]:
    """{stage: where it runs} of an evaluation's victims."""
    if resources.workers == "local":
        return {"lanes": "one after the other in the driver, on its CPU"}
    from ray_ue.engine.lanes import Lanes

    lanes = Lanes.plan(machines.part(resources.part), resources, cells=cells)
    kind = on(machines, lanes.gpus)
    return {
        "lanes": f"{counted(lanes.count, 'lane')} of {counted(lanes.workers, 'worker')} {kind}, {counted(lanes.threads, 'thread')} each"
    }


def tasks_line(machines: Machines, tasks: int, threads: int) -> str:
    return f"up to {counted(tasks, 'task')} at a time on {counted(len(machines.nodes), 'node')}, {counted(threads, 'thread')} each"


def workers_line(machines: Machines, resources: Resources) -> str:
    """Of a loop under Ray Train."""
    if not (count := machines.train_workers(resources)):
        return "in the driver, on its CPU"
    return f"{counted(count, 'worker')} {on(machines, float(min(1, machines.gpus)))}"


def on(machines: Machines, share: float) -> str:
    """What a task, an actor or a worker holds, and on which nodes it can."""
    hosts = machines.hosts() if share else machines
    held = f"with {share:g} GPU each" if share else "on CPUs"
    return f"{held} on {counted(len(hosts.nodes), 'node')}"
