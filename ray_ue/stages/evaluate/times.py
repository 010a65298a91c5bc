"""How long the victims of a grid will take, said before they start."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ray_ue.config.grid import Grid, GridCell
from ray_ue.config.schedules import Schedule
from ray_ue.config.victims import parse_victim
from ray_ue.exploiter.pace import seconds_per_image
from ray_ue.progress import duration

SMALLER = 64  # pixels: the side that is offered where victims see more


@dataclass(frozen=True, kw_only=True)
class Load:
    """Image passes of one victim under one defense."""

    victim: str
    defense: str
    schedule: Schedule
    passes: int


def loads_of(cells: Iterable[GridCell], grid: Grid, *, rows: int) -> list[Load]:
    """The victims of a grid that train on `rows` images each."""
    found = []
    for (victim, defense, purified), count in Counter((cell.victim, cell.defense, cell.purified) for cell in cells).items():
        name, schedule = "none" if purified >= 0 else defense, grid.schedule_for(victim)
        found.append(Load(victim=victim, defense=name, schedule=schedule, passes=count * passes_over(victim, schedule) * rows))
    return found


def passes_over(victim: str, schedule: Schedule) -> int:
    """How often a victim sees each image: a probe looks once."""
    return 1 if parse_victim(victim).how == "probe" else schedule.epochs


def total_seconds(loads: Iterable[Load], *, size: int, lanes: int, threads: int, device: torch.device) -> float:
    """Of all loads together, in `lanes` side by side; one step of each victim under each defense is timed here, now."""
    loads = list(loads)
    pairs = {(load.victim, load.defense): load.schedule for load in loads}
    pace = seconds_per_image(((*pair, schedule) for pair, schedule in pairs.items()), size=size, threads=threads, device=device)
    return sum(load.passes * pace[load.victim, load.defense] for load in loads) / lanes


def describe_time(loads: Iterable[Load], *, size: int, lanes: int, threads: int, device: torch.device) -> str:
    """What the victims take here, at which size they see the images, and what a smaller one would take."""
    loads = list(loads)
    here = {"lanes": lanes, "threads": threads, "device": device}
    told = f"about {duration(total_seconds(loads, size=size, **here))} for the victims, which see {size}x{size} pixels"
    if size > SMALLER:
        told += f"; about {duration(total_seconds(loads, size=SMALLER, **here))} with image size {SMALLER}"
    side_by_side = f"{lanes} at a time, {threads} thread{'s' if threads > 1 else ''} each" if device.type == "cpu" else f"{lanes} at a time"
    return f"{told} (measured now; {side_by_side})"
