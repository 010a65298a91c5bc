"""`Recipe` holds every choice that shapes a protected copy; `Resources` holds what a run may use and never enters a fingerprint.

The fields of both are the flags of the command line and the keyword arguments of `ray_ue.protect`.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Literal

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from ray_ue.grouping.embeddings import open_given
from ray_ue.images.codec import Limits
from ray_ue.images.metadata import Strip
from ray_ue.models.pretrained import specs
from ray_ue.objectives.aims import AIMS
from ray_ue.perturbations.budget import Budget
from ray_ue.registry import pick
from ray_ue.sources.image_files import EXTENSIONS
from ray_ue.sources.opening import Format

SSL_BATCH = 256  # images of a step of self-supervised training, each seen twice
SIDES = (32, 64, 128, 224)  # of which --image-size auto takes one


def read_number(word: str) -> int:
    """A whole number, or 0 for `auto`."""
    if word != "auto" and not word.isdigit():
        raise ValueError(f"it is a whole number or auto, got {word!r}")
    return 0 if word == "auto" else int(word)


OR_AUTO = PrimitiveConstructorSpec(
    nargs=1,
    metavar="INT|auto",
    instance_from_str=lambda words: read_number(words[0]),
    is_instance=lambda value: isinstance(value, int),
    str_from_instance=lambda value: [str(value) if value else "auto"],
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The choices that shape a copy. Equal recipes on an equal source give the same copy."""

    format: Format = "auto"
    """How the source is laid out."""
    surrogate: str = "timm:tf_efficientnet_lite0"
    """Network to cluster and craft with: timm:ARCH[/TAG|@FILE], open_clip:RN50/openai, torchvision:resnet50, ssl:small (trained here)."""
    image_size: Annotated[int, OR_AUTO] = 0
    """Side at which a surrogate sees images and a method crafts; auto (0 in Python): a timm surrogate's own side; else
    32, 64, 128 or 224, as the pictures' median."""
    ssl_steps: int = 400
    """Training steps of an ssl surrogate."""
    embeddings: str = ""
    """A folder of clip-retrieval embeddings (img_emb, metadata) to cluster; if empty, the surrogate computes the embeddings."""
    groups: Literal["kmeans", "label"] = "kmeans"
    """How images are grouped: kmeans by surrogate features (label-agnostic) or label by class folder (protects only against models trained on these classes)."""  # noqa: E501
    per: Literal["auto", "group", "image"] = "auto"
    """One perturbation per group or per image; auto takes the method's default."""
    clusters: Annotated[int, OR_AUTO] = 0
    """Number of k-means clusters; auto (0 in Python): the most on which independent runs agree about as well as they ever do, merged."""
    also_clusters: str = ""
    """Extra cluster counts optimised jointly with --clusters (mi-ue, em, rem, sem): 20,50,100."""
    restarts: int = 5
    """k-means runs from different seeds; the run with the lowest error is used."""
    fit_sample: int = 1_000_000
    """Maximum number of rows that k-means is fitted on; all rows are assigned."""
    budget: Annotated[str, arg(aliases=("--strength",))] = "16/255"
    """Largest change of a channel: 16, 16/255 or 0.0627; or low (8/255), mid (16/255), high (32/255, clearly visible)."""
    method: str = "texture"
    """How the perturbation is crafted; ray-ue methods lists all methods and their settings."""
    settings: str = ""
    """Settings of the method, comma-separated: epochs=30,network=fast."""
    aim: str = "shift"
    """The wrong centre that each group is pushed toward: shift, random or farthest."""
    steps: int = 0
    """Optimisation steps. UC: total steps, so cost does not grow with the data set; others: PGD steps per update. 0: the method's default."""  # noqa: E501
    batch: int = 0
    """Images per crafting or training step. 0: the method's default."""
    learning_rate: float = 0.0
    """UC: step size of the perturbation; others: learning rate of the source network. 0: the method's default."""
    parameterization: Literal["pixels", "generator", "smooth4", "smooth8", "smooth16"] = "pixels"
    """What UC optimises per cluster: the perturbation's pixels, the papers' ResNet generator, or N x N numbers a channel (smoothN)."""
    data_scope: Literal["own", "all"] = "own"
    """Images that UC optimises a cluster's perturbation on: those of the cluster, or (as in the authors' code) all."""
    loss: str = "kl"
    """Distance to the target centre: kl, l2 or cosine."""
    augment: Literal["before", "after"] = "before"
    """Crop and flip before adding the perturbation (as the authors' code; better in our tests), or after (as an exploiter does)."""
    craft_sample: int = 20_000
    """Maximum number of images for crafting and for ssl training."""
    resize: int = 0
    """Side of the exported images in pixels; 0 keeps the size of each image."""
    image_format: str = "png"
    """Image format of the copy: png, webp (lossless), or jpeg (lossy: destroys most of the perturbation)."""
    strip: Strip = "location"
    """What is taken out of the images' metadata: the place (location), all of EXIF, or none; pictures within it never stay."""
    carry: str = ""
    """Further files to copy as they are, as patterns with commas (*.yaml,notes/*); captions, labels and metadata are copied anyway."""
    max_rejected: float = 0.01
    """Largest fraction of unusable images before the run fails."""
    max_pixels: int = Limits().max_pixels
    """Images with more pixels are rejected."""
    seed: int = 0
    """Seed of every random choice."""

    def check(self) -> None:
        """Raise `ValueError` for values that cannot work; the error says what would have worked."""
        self.levels()
        specs.check(specs.parse(self.surrogate))
        pick(AIMS, self.aim, what="aim")
        pick(EXTENSIONS, self.image_format, what="image format")
        if self.clusters and self.clusters < 2:
            raise ValueError(f"--clusters {self.clusters} leaves no wrong centre to aim at; use 2 or more, or auto")
        if not 0 <= self.max_rejected <= 1:
            raise ValueError(f"--max-rejected is a fraction from 0 to 1, got {self.max_rejected}; 0.01 allows one image in a hundred")
        if self.embeddings and self.groups == "label":
            raise ValueError("--embeddings are clustered, so they need --groups kmeans; --groups label does not use them")
        if self.embeddings:
            open_given(self.embeddings)
        self.other_clusters()
        for name, least in LEAST.items():
            if not least <= getattr(self, name) < math.inf:
                wanted = f"{least} or more" if getattr(self, name) < least else "a finite number"
                raise ValueError(f"--{name.replace('_', '-')} must be {wanted}, got {getattr(self, name)}")
        if self.seed > MOST_SEED:
            raise ValueError(f"--seed must be {MOST_SEED:,} or less, got {self.seed}")
        if self.image_size and self.image_size < 16:
            raise ValueError(f"--image-size {self.image_size} is too small; give 16 or more, or auto for a side that suits the pictures")
        if self.resize**2 > self.max_pixels:
            raise ValueError(f"--resize {self.resize} makes more pixels than --max-pixels {self.max_pixels} allows; give a smaller side")
        if self.resize and self.resize < 8:
            raise ValueError(f"--resize {self.resize} is too small; give 8 or more, or 0 to keep every image's size")

    def other_clusters(self) -> tuple[int, ...]:
        """The cluster counts of `also_clusters` that differ from `clusters`."""
        counts = [word.strip() for word in self.also_clusters.split(",") if word.strip()]
        if invalid := [word for word in counts if not word.isdigit() or int(word) < 2]:
            raise ValueError(f"--also-clusters is a list of numbers from 2, such as 20,50,100; got {invalid[0]!r}")
        if counts and self.groups == "label":
            raise ValueError("--also-clusters needs --groups kmeans; --groups label makes no clusters")
        return tuple(dict.fromkeys(int(word) for word in counts if int(word) != self.clusters))

    def patterns(self) -> tuple[str, ...]:
        """The patterns of `carry`."""
        return tuple(word.strip() for word in self.carry.split(",") if word.strip())

    def levels(self) -> Budget:
        return Budget.parse(self.budget)

    def limits(self) -> Limits:
        return Limits(max_pixels=self.max_pixels)

    def sized(self, median: float) -> "Recipe":
        """The same, with the side that suits pictures whose shorter sides have this median, where none was stated."""
        nearest = min(SIDES, key=lambda side: abs(math.log(side / max(median, 1))))
        return self if self.image_size else replace(self, image_size=nearest)

    def geometry(self) -> tuple[int, int]:
        """(canvas, size): the side of the stored view, and of the surrogate's input; only where `image_size` is known."""
        assert self.image_size, "plan resolves the image size"
        return specs.geometry(specs.parse(self.surrogate), image_size=self.image_size)

    def side(self, *, frozen: bool) -> int:
        """The side in pixels of the views that a method sees: the surrogate's where it is frozen, else `image_size`."""
        return self.geometry()[0] if frozen else self.image_size

    def values(self, names: tuple[str, ...]) -> dict[str, object]:
        """The named fields in canonical form, for a fingerprint: `16` and `16/255` are one budget, a file is its content."""
        values = {name: value for name, value in asdict(self).items() if name in names}
        assert len(values) == len(names), f"unknown recipe field among {names}"
        if "budget" in values:
            values["budget"] = self.levels().levels
        if "surrogate" in values:
            values["surrogate"] = specs.identity(specs.parse(self.surrogate))
        if values.get("embeddings"):
            values["embeddings"] = open_given(self.embeddings).identity()
        return values


MOST_SEED = 2**31 - 1
LEAST = {
    "restarts": 1,
    "fit_sample": 2,
    "steps": 0,
    "batch": 0,
    "learning_rate": 0,
    "craft_sample": 2,
    "max_pixels": 64,
    "image_size": 0,
    "ssl_steps": 1,
    "resize": 0,
    "seed": 0,
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run may use; no part of a fingerprint."""

    workers: str = "auto"
    """Train workers: a number, auto (one per GPU, or one without GPUs), or local (in this process, on the CPU; starts fastest)."""
    gpus_per_encoder: float = 1.0
    """Fraction of a GPU per embedding actor, if there are GPUs."""
    gpus_per_victim: float = 1.0
    """Fraction of a GPU per victim of an evaluation; several small victims fit on one GPU."""
    keep_weights: bool = True
    """Keep the weights of every victim that an evaluation trains; ray-ue measure needs them."""
    cpus_per_task: int = 0
    """Threads per decode, embed or export task; 0 divides the cores of the machine among the tasks."""
    part: float = 1.0
    """Fraction of the cluster to plan with, when several runs share it."""

    def workers_per_victim(self) -> int:
        """Workers that train one victim of an evaluation together; auto and local mean one."""
        return int(self.workers) if self.workers.isdigit() else 1

    def check(self) -> None:
        if self.workers not in ("auto", "local") and not (self.workers.isdigit() and int(self.workers) > 0):
            raise ValueError(f"--workers is a number from 1, auto or local, got {self.workers!r}")
        for name in ("gpus_per_encoder", "gpus_per_victim"):
            if not 0 < getattr(self, name) <= 8:
                raise ValueError(f"--{name.replace('_', '-')} is above 0 and at most 8, got {getattr(self, name)}")
        if self.cpus_per_task < 0:
            raise ValueError(f"--cpus-per-task is a number of threads, or 0 to divide the cores, got {self.cpus_per_task}")
        if not 0 < self.part <= 1:
            raise ValueError(f"--part is a fraction of the cluster, above 0 and at most 1, got {self.part:g}")


def list_differences(old: dict[str, object], new: dict[str, object]) -> list[str]:
    """`field: old -> new` for each field whose value differs."""
    return [f"{name}: {old.get(name)!r} -> {new.get(name)!r}" for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


FIELDS = tuple(f.name for f in fields(Recipe))
EXPORT_FIELDS = ("resize", "image_format", "max_pixels", "strip")  # that only the writing of a copy reads
AUTOMATIC = Resources()
