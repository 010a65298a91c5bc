"""Sample: the views that crafting and self-supervised training loop over, read once into one memory-mapped uint8 array."""

from ray_ue.artifacts import Artifact, Folder
from ray_ue.sampling import draw_sample
from ray_ue.stages.base import Run, stage
from ray_ue.stages.views import Plain, read_views

VERSION = 1


def sample(run: Run, *, index: Artifact) -> Artifact:
    """The sample artifact: `pixels.npy` uint8 [n, canvas, canvas, 3] and `ids.npy`, a random sample of the readable rows in id order."""
    canvas, _ = run.recipe.geometry()
    fields = run.recipe.values(("craft_sample", "seed", "max_pixels")) | {"canvas": canvas}
    return stage(
        run, "sample", version=VERSION, fields=fields, inputs={"index": index}, build=lambda folder: build(run, index, canvas, folder)
    )


def build(run: Run, index: Artifact, canvas: int, folder: Folder) -> dict:
    wanted = draw_sample(index.facts["rows"], size=run.recipe.craft_sample, seed=run.recipe.seed)
    see = Plain(canvas=canvas, limits=run.recipe.limits())
    rows = read_views(run, index, wanted, see=see, canvas=canvas, name="sample", folder=folder)
    if rows < 2:
        raise ValueError(f"only {rows} of {len(wanted)} sampled images could be read; there is nothing to craft on")
    return {"rows": rows, "canvas": canvas, "of": index.facts["rows"]}
