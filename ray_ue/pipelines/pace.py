"""What the passes of a run take, from a second of them that is timed here, and the device that work here would be given."""

from typing import TYPE_CHECKING

import numpy as np

from ray_ue.config.recipe import Recipe, Resources
from ray_ue.models.pretrained import specs
from ray_ue.progress import duration

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ray_ue.methods import Method

FLOAT_PIXEL = 12  # bytes of three channels
SEEN = 64  # random images that a network which looks at some before it is trained is shown, to tell its speed


def device_here(resources: Resources) -> tuple["torch.device", int]:
    """What a local Ray would assign to work here, and how many GPUs it would offer: none to work in this process."""
    import torch

    gpus = 0 if resources.workers == "local" else torch.cuda.device_count()
    return torch.device("cuda" if gpus else "cpu"), gpus


def pace_lines(recipe: Recipe, method: "Method", *, rows: int, images: int, device: "torch.device") -> tuple[dict[str, str], float]:
    """What the passes take, in time and memory, at the pace that is measured on a device here, now, on one worker; and the seconds."""
    from ray_ue.methods._shared.throughput import pace
    from ray_ue.methods.requirements import requirements_of
    from ray_ue.perturbations.delta_table import pools_for

    name, net, side = passed(recipe, method)
    pace_measured = pace(net, side=side, device=device)
    count = method.peak_batch(rows, pools=pools_for(rows))
    held = waiting_bytes(method, requirements_of(recipe).per, rows=rows, side=side)
    memory, kind = (pace_measured.bytes * count + held) / 2**30, "GPU memory" if device.type == "cuda" else "memory"
    least = f", without the {method.unplanned_model}" if method.unplanned_model else ""
    seconds = images / pace_measured.images
    lines = {
        "time": f"crafting {'at least' if least else 'about'} {duration(seconds)} on one worker like this one "
        f"({pace_measured.images:,.{0 if pace_measured.images >= 10 else 1}f} images/s through {name} and back, measured now{least})",
        "memory": f"about {memory:.1f} GiB of {kind} per worker for {count:,} images at once, without network and page cache{least}",
    }
    return lines, seconds


def waiting_bytes(method: "Method", per: str, *, rows: int, side: int) -> int:
    """Images and deltas that wait on the device: where rows share deltas, a step goes over a batch of every pool, all of which wait."""
    from ray_ue.methods._shared.delta_method import DeltaMethod
    from ray_ue.perturbations.delta_table import pools_for

    if per != "group" or not isinstance(method, DeltaMethod):
        return 0
    pools = pools_for(rows)
    return 2 * FLOAT_PIXEL * side**2 * min(rows, pools * method.peak_batch(rows, pools=pools))


def passed(recipe: Recipe, method: "Method") -> tuple[str, "nn.Module", int]:
    """What the images of crafting pass through, by name, with random weights, and the side at which it sees them."""
    if method.source_arch:
        from ray_ue.models.classifiers import classifier

        side = recipe.image_size
        pixels = np.random.default_rng(0).integers(0, 256, (SEEN, side, side, 3), dtype=np.uint8)  # some networks look at images first
        return method.source_arch, classifier(method.source_arch, side=side, classes=10, sample=pixels, seed=0), side
    spec, size = specs.parse(recipe.surrogate), recipe.geometry()[1]
    return spec.arch, specs.family(spec.kind).bare(spec.arch, size), size
