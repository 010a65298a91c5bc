"""Surrogates by name: what a name means and whether it can be loaded."""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ray_ue.registry import pick
from ray_ue.storage.addresses import local_path
from ray_ue.storage.hashing import sha256_of_file

if TYPE_CHECKING:
    from ray_ue.models.pretrained.tower import Family

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
# Importing every library costs each new process seconds that most of them do not need.
FAMILIES = {
    "open_clip": "ray_ue.models.pretrained.open_clip",
    "timm": "ray_ue.models.pretrained.timm",
    "torchvision": "ray_ue.models.pretrained.torchvision",
    "ssl": "ray_ue.models.pretrained.self_supervised",
}


def family(kind: str) -> "Family":
    """The library called `kind`."""
    return import_module(pick(FAMILIES, kind, what="kind of surrogate")).FAMILY


EXAMPLES = (
    "timm:tf_efficientnet_lite0, open_clip:RN50/openai, open_clip:RN50@/path/to/weights.pt, torchvision:resnet50, ssl:small or ssl:resnet18"
)
# The weights of a name without any: those of the UC paper's supervised surrogate, and those that a dependency carries.
UNTAGGED = {"torchvision": "IMAGENET1K_V1", "timm:tf_efficientnet_lite0": "packaged"}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A surrogate's name, taken apart: `weights` is a tag, "@" and a file path, or "" for one trained on the collection."""

    kind: str
    arch: str
    weights: str

    @property
    def file(self) -> Path:
        """Where the weights lie; only for a spec that names a file."""
        assert self.weights.startswith("@")
        return Path(self.weights[1:])

    def __str__(self) -> str:
        between = "" if not self.weights or self.weights.startswith("@") else "/"
        return f"{self.kind}:{self.arch}{between}{self.weights}"


def parse(text: str) -> Spec:
    """Read `kind:arch/tag`, `kind:arch@file` or `kind:arch`."""
    kind, colon, rest = text.strip().partition(":")
    if not colon or not rest or kind not in FAMILIES:
        raise ValueError(f"the surrogate {text!r} is not understood; write {EXAMPLES}")
    arch, at, path = rest.partition("@")
    if at:
        weights = f"@{path}"
    else:
        arch, _, tag = rest.partition("/")
        weights = tag or UNTAGGED.get(f"{kind}:{arch}", UNTAGGED.get(kind, ""))
    if (kind == "ssl") != (not weights) or not arch or weights == "@":
        reason = "is trained on the images and takes no weights" if kind == "ssl" else "needs weights"
        raise ValueError(f"the surrogate {text!r} {reason}; write {EXAMPLES}")
    return Spec(kind=kind, arch=arch, weights=weights)


def rooted(text: str) -> str:
    """A surrogate's or victim's name with an absolute file, if it names one: workers run in folders of their own."""
    name, at, file = text.partition("@")
    return f"{name}@{local_path(file)}" if at and file else text


def check(spec: Spec) -> None:
    """Refuse, without loading anything, what cannot be loaded."""
    library = family(spec.kind)
    if spec.arch not in (archs := library.archs()):
        near = get_close_matches(spec.arch, archs, n=3, cutoff=0.0)
        raise ValueError(f"{spec.kind} has no architecture {spec.arch!r}; the nearest names are {', '.join(near)}")
    if spec.weights.startswith("@"):
        _check_file(spec)
    elif spec.weights and spec.weights not in (tags := library.tags(spec.arch)):
        raise ValueError(f"{spec.kind}:{spec.arch} has no weights {spec.weights!r}; there are {', '.join(tags) or 'none: give a file'}")


def _check_file(spec: Spec) -> None:
    if spec.file.suffix not in SUFFIXES:
        raise ValueError(f"the weights file {spec.file} must end in one of {', '.join(SUFFIXES)}")
    if not spec.file.is_file():
        raise ValueError(f"there is no weights file {spec.file}; every node that runs a surrogate must see it under this path")
    try:
        with spec.file.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"the weights file {spec.file} cannot be read: {error.strerror}") from error


def identity(spec: Spec) -> dict[str, str]:
    """What tells two surrogates apart: for a file its content, never its path."""
    if not spec.weights.startswith("@"):
        return {"kind": spec.kind, "arch": spec.arch, "weights": spec.weights}
    _check_file(spec)
    return {"kind": spec.kind, "arch": spec.arch, "weights": f"sha256:{sha256_of_file(spec.file)}"}


def geometry(spec: Spec, *, image_size: int) -> tuple[int, int]:
    """(canvas, size): the side of a stored view and of the network's input; 256 and 224 in the UC paper.

    A surrogate trained on the collection takes its views whole, at `image_size`; so does one of timm.
    """
    size = family(spec.kind).side(spec.arch, image_size)
    return (size, size) if spec.kind in ("ssl", "timm") else (round(size * 256 / 224), size)
