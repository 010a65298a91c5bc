"""Sample: the views that crafting and self-supervised training loop over, read once into one memory-mapped uint8 array."""

from ray_ue.engine.stage import Run, stage
from ray_ue.grouping.sampling import draw_sample
from ray_ue.methods.requirements import requirements_of
from ray_ue.stages.protect.rejected import refuse_too_many
from ray_ue.stages.protect.views import PlainView, read_views
from ray_ue.storage.artifacts import Artifact, Folder

VERSION = 2


def sample(run: Run, *, index: Artifact, canvas: int, rows: int) -> Artifact:
    """The sample artifact: `pixels.npy` uint8 [n, canvas, canvas, 3] and `ids.npy`, in id order and without the unreadable.

    It is a random sample of `rows` rows, or all of them where there are no more.
    """
    rows = min(rows, index.facts["rows"])
    fields = run.recipe.values(("seed", "max_pixels")) | {"canvas": canvas, "craft_sample": rows}
    return stage(
        run, "sample", version=VERSION, fields=fields, inputs={"index": index}, build=lambda folder: build(run, index, canvas, rows, folder)
    )


def build(run: Run, index: Artifact, canvas: int, rows: int, folder: Folder) -> dict:
    wanted = draw_sample(index.facts["rows"], size=rows, seed=run.recipe.seed)
    view = PlainView(canvas=canvas, limits=run.recipe.limits())
    read = read_views(run, index, wanted, view=view, canvas=canvas, name="sample", folder=folder)
    if not read:
        refuse_too_many(len(wanted), len(wanted), run.recipe.max_rejected, folder, published=len(run.source.published))
    if read < 2 and requirements_of(run.recipe).per != "image" and not run.source.published:
        found = f"{read} of {len(wanted):,} sampled images can be used" if len(wanted) > 1 else f"there is {len(wanted)} image"
        raise ValueError(f"{found}: an image is protected among others of its group, so give 2 or more")
    return {"rows": read, "canvas": canvas, "of": index.facts["rows"], "asked": len(wanted)}


def refuse_unreadable(run: Run, sampled: Artifact) -> None:
    """Where no embedding looks at every row, the sample is the first that does."""
    rejected, asked = sampled.facts["asked"] - sampled.facts["rows"], sampled.facts["asked"]
    refuse_too_many(rejected, asked, run.recipe.max_rejected, sampled.folder, published=len(run.source.published))
