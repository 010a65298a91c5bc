"""Memory: how many tasks and threads may work on pictures side by side, so that each can hold the largest one."""

from collections.abc import Callable, Iterator
from heapq import nlargest
from math import prod

from ray_ue.config.recipe import Resources
from ray_ue.engine.machines import Machines
from ray_ue.images.broken import Rejected
from ray_ue.images.codec import Limits, read_size
from ray_ue.progress import format_bytes, say
from ray_ue.sources import Source
from ray_ue.stages.protect.index import rows_of, shard_lines
from ray_ue.storage.artifacts import Artifact

PROCESS = 400 * 2**20  # of a worker, with what it imports
LOOKED_AT, SHARDS = 64, 8  # the files whose headers are read, the largest ones, and the shards that they may lie in


def say_memory(note: str) -> None:
    say(f"   memory  {note}")


def share_out(
    machines: Machines,
    resources: Resources,
    *,
    tasks: int,
    per_pixel: int,
    limits: Limits,
    largest: Callable[[], int],
    tell: Callable[[str], object] = say_memory,
) -> tuple[int, int]:
    """(tasks at a time, threads of each) of up to `tasks` tasks: as many as fill the cores, and as can all hold the largest picture.

    `largest` gives its pixels; it is asked only where the memory is too small for pictures of the largest size that is allowed.
    `tell` hears where that leaves cores without work. A `ValueError` if not even one of them fits.
    """
    tasks = min(tasks, machines.slots())
    threads = machines.threads(resources, tasks=tasks)
    if machines.slots(memory=PROCESS + per_pixel * limits.max_pixels) >= tasks * threads:
        return tasks, threads
    pixels = largest()
    need = PROCESS + per_pixel * pixels
    room = machines.slots(memory=need)
    if not room:
        raise ValueError(
            f"a picture of {pixels / 1e6:,.1f} megapixels needs about {format_bytes(need)} of memory, and no machine has that much free "
            f"(the most is {format_bytes(machines.memory)}); end other programs, use a larger machine, or take such pictures out "
            "of the source"
        )
    if room < tasks * threads:
        tell(f"{room} pictures at a time: one of {pixels / 1e6:,.1f} megapixels needs about {format_bytes(need)}")
    return min(tasks, room), min(threads, max(1, room // max(1, tasks)))


def largest_picture(source: Source, index: Artifact, *, limits: Limits) -> int:
    """The most pixels that the headers of the largest files state."""
    sizes = ((size, line["shard"], row) for line in shard_lines(index) for row, size in enumerate(sizes_of(index, line["shard"])))
    wanted: dict[int, list[int]] = {}
    for _, shard, row in nlargest(LOOKED_AT, sizes):
        if shard in wanted or len(wanted) < SHARDS:
            wanted.setdefault(shard, []).append(row)
    return max((pixels_of(data, limits) for shard, rows in wanted.items() for data in read(source, index, shard, rows)), default=0)


def sizes_of(index: Artifact, shard: int) -> list[int]:
    return rows_of(index.folder, shard)["size"].to_pylist()


def read(source: Source, index: Artifact, shard: int, rows: list[int]) -> Iterator[bytes]:
    """The bytes of some rows of a shard."""
    yield from source.read(source.shards()[shard], rows_of(index.folder, shard).take(sorted(rows)))


def pixels_of(data: bytes, limits: Limits) -> int:
    """The pixels that a header states; 0 if the picture is rejected anyway."""
    try:
        return prod(read_size(data, limits=limits))
    except Rejected:
        return 0
