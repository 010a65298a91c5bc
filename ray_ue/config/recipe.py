"""The recipe: one frozen value that names everything which shapes a protected copy. It knows no files and no machines.

Its fields are the command line's flags and the keyword arguments of `ray_ue.protect`. What a run may use (workers, devices)
is `Resources`: it never enters a fingerprint.
"""

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Literal

from tyro.conf import arg

from ray_ue.grouping.embeddings import open_given
from ray_ue.images.codec import Limits
from ray_ue.models.pretrained import specs
from ray_ue.objectives.aims import AIMS
from ray_ue.perturbations.budget import Budget
from ray_ue.registry import pick
from ray_ue.sources.image_files import EXTENSIONS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is asked for. Equal recipes on an equal source give the same copy."""

    format: Literal["auto", "folder", "parquet", "arrow", "webdataset"] = "auto"
    """How the source is laid out."""
    surrogate: str = "ssl:small"
    """Network to craft against: open_clip:RN50/openai, open_clip:RN50@FILE, torchvision:resnet50[@FILE], ssl:small, ssl:resnet18."""
    image_size: int = 32
    """Side in pixels at which an ssl surrogate sees images; open_clip and torchvision bring their own."""
    ssl_steps: int = 400
    """Training steps of an ssl surrogate."""
    embeddings: str = ""
    """A folder of embeddings by clip-retrieval (img_emb, metadata) to cluster by; empty embeds here, with the surrogate."""
    groups: Literal["kmeans", "label"] = "kmeans"
    """What the method is told of an image: its cluster (whatever the labels), or its class (only against those who use the same labels)."""
    per: Literal["auto", "group", "image"] = "auto"
    """One perturbation for a whole group, or one for every image; auto takes the method's own way."""
    clusters: int = 10
    """Number of k-means clusters."""
    also_clusters: str = ""
    """Further numbers of clusters, comma-separated, that mi-ue, em, rem or sem is told of together: 20,50,100."""
    restarts: int = 5
    """k-means runs from new seeds; the best is kept."""
    fit_sample: int = 1_000_000
    """Most rows that k-means is fitted on; all rows are assigned."""
    budget: Annotated[str, arg(aliases=("--strength",))] = "16/255"
    """Largest change of a channel: 16, 16/255 or 0.0627; or low (8/255), mid (16/255), high (32/255, plain to see)."""
    method: str = "uc"
    """How the perturbation is crafted: ray-ue methods lists them with their settings."""
    settings: str = ""
    """Further settings of the method, comma-separated: epochs=30,network=fast."""
    aim: str = "shift"
    """Which wrong centre each group is pushed toward: shift, random or farthest."""
    steps: int = 0
    """Crafting steps of UC (the cost, whatever the size of the collection), sign steps of others; 0 takes the method's own number."""
    batch: int = 0
    """Images per crafting or training step; 0 takes the method's own number."""
    learning_rate: float = 0.0
    """Crafting step size of UC, learning rate of a method's own network; 0 takes the method's own."""
    parameterization: Literal["pixels", "generator"] = "pixels"
    """What is trained per cluster: the perturbation itself, or the papers' ResNet generator."""
    data_scope: Literal["own", "all"] = "own"
    """Images that train a cluster's perturbation: its own, or (as the authors' code does) all."""
    loss: str = "kl"
    """Distance to the aimed centre: kl, l2 or cosine."""
    augment: Literal["before", "after"] = "before"
    """Crop and flip before adding the perturbation (as the authors' code does; it measured better), or after (as an exploiter will)."""
    craft_sample: int = 20_000
    """Most images that crafting and ssl training see."""
    resize: int = 0
    """Side of the exported images; 0 keeps every image's own size."""
    image_format: str = "png"
    """Format of the copy: png, webp (lossless), or jpeg (lossy: destroys much of the protection)."""
    max_rejected: float = 0.01
    """Largest fraction of unusable images before the run fails."""
    max_pixels: int = Limits().max_pixels
    """Images with more pixels are set aside."""
    seed: int = 0
    """Seed of every random choice."""

    def check(self) -> None:
        """Refuse what cannot work, before any long work; the error says what would have worked."""
        self.levels()
        specs.check(specs.parse(self.surrogate))
        pick(AIMS, self.aim, what="aim")
        pick(EXTENSIONS, self.image_format, what="image format")
        if self.clusters < 2:
            raise ValueError(f"--clusters {self.clusters} leaves no wrong centre to aim at; ask for 2 or more")
        if not 0 <= self.max_rejected <= 1:
            raise ValueError(f"--max-rejected is a fraction from 0 to 1, got {self.max_rejected}; 0.01 allows one image in a hundred")
        if self.embeddings and self.groups == "label":
            raise ValueError("--embeddings are clustered, so they go with --groups kmeans; with --groups label nothing would look at them")
        if self.embeddings:
            open_given(self.embeddings)
        self.other_clusters()
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} must be {least} or more, got {getattr(self, name)}")
        if self.resize and self.resize < 8:
            raise ValueError(f"--resize {self.resize} is too small; give 8 or more, or 0 to keep every image's size")

    def other_clusters(self) -> tuple[int, ...]:
        """Numbers of clusters beside the first."""
        words = [word.strip() for word in self.also_clusters.split(",") if word.strip()]
        if wrong := [word for word in words if not word.isdigit() or int(word) < 2]:
            raise ValueError(f"--also-clusters is a list of numbers from 2, such as 20,50,100; got {wrong[0]!r}")
        if words and self.groups == "label":
            raise ValueError("--also-clusters goes with --groups kmeans; with --groups label there are no clusters")
        return tuple(dict.fromkeys(int(word) for word in words if int(word) != self.clusters))

    def levels(self) -> Budget:
        return Budget.parse(self.budget)

    def limits(self) -> Limits:
        return Limits(max_pixels=self.max_pixels)

    def geometry(self) -> tuple[int, int]:
        """(canvas, size): the side of the stored view, and of the surrogate's input."""
        return specs.geometry(specs.parse(self.surrogate), image_size=self.image_size)

    def side(self, *, frozen: bool) -> int:
        """The side in pixels of the views that a method sees: a frozen surrogate's, else what was asked for."""
        return self.geometry()[0] if frozen else self.image_size

    def values(self, names: tuple[str, ...]) -> dict[str, object]:
        """The named fields in canonical form, for a fingerprint: `16` and `16/255` are one budget, a file is its content."""
        found = {name: value for name, value in asdict(self).items() if name in names}
        assert len(found) == len(names), f"unknown recipe field among {names}"
        if "budget" in found:
            found["budget"] = self.levels().levels
        if "surrogate" in found:
            found["surrogate"] = specs.identity(specs.parse(self.surrogate))
        if found.get("embeddings"):
            found["embeddings"] = open_given(self.embeddings).identity()
        return found


LEAST = {
    "restarts": 1,
    "fit_sample": 2,
    "steps": 0,
    "batch": 0,
    "learning_rate": 0,
    "craft_sample": 2,
    "max_pixels": 64,
    "image_size": 16,
    "ssl_steps": 1,
    "resize": 0,
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run may use; never part of a fingerprint."""

    workers: str = "auto"
    """Train workers: a number, auto (one per GPU, else one), or local (inside this process, which starts fastest)."""
    gpus_per_encoder: float = 1.0
    """Share of a GPU per embedding actor, when there are GPUs."""
    gpus_per_victim: float = 1.0
    """Share of a GPU per victim that an evaluation trains: several small victims fit one GPU."""
    keep_weights: bool = True
    """Keep the weights of every victim that an evaluation trains, beside its numbers."""
    cpus_per_task: int = 0
    """Threads of one decode, embed or export task; 0 spreads the machine's cores over the tasks."""
    part: float = 1.0
    """Share of the machines that this run plans for, when others run beside it."""

    def check(self) -> None:
        if self.workers not in ("auto", "local") and not (self.workers.isdigit() and int(self.workers) > 0):
            raise ValueError(f"--workers is a number from 1, auto or local, got {self.workers!r}")
        for name in ("gpus_per_encoder", "gpus_per_victim"):
            if not 0 < getattr(self, name) <= 8:
                raise ValueError(f"--{name.replace('_', '-')} is above 0 and at most 8, got {getattr(self, name)}")
        if not 0 < self.part <= 1:
            raise ValueError(f"--part is a share of the machines, above 0 and at most 1, got {self.part:g}")


def differing(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """`field: old -> new` for each field whose value is not the same."""
    return [f"{name}: {one.get(name)!r} -> {other.get(name)!r}" for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


FIELDS = tuple(f.name for f in fields(Recipe))
AUTOMATIC = Resources()
