"""Image towers from libraries, cut before their last layer: what each library has, and how to build it. Knows no pixels and no slots."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import open_clip
import torch
import torchvision
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from safetensors.torch import load_file
from torch import Tensor, nn

from ray_ue.nets.small import BACKBONES, backbone
from ray_ue.sgd import MEAN, STD

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
OFFLINE = "give a downloaded file ({kind}:{arch}@/path/to/weights) or train a surrogate on the images themselves (ssl:small, ssl:resnet18)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Tower:
    """A network from normalised images to raw features, and the pixel normalisation that it was trained with."""

    net: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One library: its architectures, an architecture's weight tags and input side, and its builder (arch, weights, state) -> Tower."""

    archs: Callable[[], list[str]]
    tags: Callable[[str], list[str]]
    side: Callable[[str, int], int]
    build: Callable[[str, str, Mapping[str, Tensor]], Tower]


def read(path: Path) -> dict[str, Tensor]:
    """A weights file as a flat dict; nothing in the file is ever executed."""
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError) as error:
        raise ValueError(
            f"{path.name} is not a plain dict of tensors ({str(error).splitlines()[0][:80]}); "
            "TorchScript and pickled models are not loaded: save its state_dict as safetensors"
        ) from error
    return content.get("state_dict", content)


def _clip_side(arch: str, image_size: int) -> int:
    config = open_clip.get_model_config(arch)
    assert config is not None, "check comes first"
    side = config["vision_cfg"].get("image_size", 224)
    return side if isinstance(side, int) else side[0]


def _clip_config(arch: str, tag: str) -> dict:
    """The tag's own settings; for a file, what all of the architecture's tags agree on."""
    tags = [tag] if tag in open_clip.list_pretrained_tags_by_model(arch) else open_clip.list_pretrained_tags_by_model(arch)
    configs = [open_clip.get_pretrained_cfg(arch, name) for name in tags]
    first = configs[0] if configs else {}
    return {key: first[key] for key in ("mean", "std", "quick_gelu") if key in first and all(c.get(key) == first[key] for c in configs)}


def _clip_weights(arch: str, tag: str) -> str:
    """The tag's file if it is cached, else the tag, after one look whether it can be fetched: the library would retry for a minute."""
    repository, _, name = open_clip.get_pretrained_cfg(arch, tag)["hf_hub"].rpartition("/")
    names = [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    for cached in (try_to_load_from_cache(repository, name) for name in names):
        if isinstance(cached, str):
            return cached
    try:
        urlopen(Request(hf_hub_url(repository, names[0]), method="HEAD"), timeout=10).close()
    except HTTPError:
        pass  # somebody answered: the library knows the other names of the file
    except OSError as error:
        hint = OFFLINE.format(kind="open_clip", arch=arch)
        raise ValueError(f"could not fetch the weights {arch}/{tag} ({error}); {hint}") from error
    return tag


def _clip(arch: str, weights: str, state: Mapping[str, Tensor]) -> Tower:
    config = _clip_config(arch, weights)
    source = weights[1:] if weights.startswith("@") else _clip_weights(arch, weights)
    if weights.startswith("@"):
        read(Path(source))  # refuses in our words what is not plain tensors; open_clip then reads it in the same safe way
    try:
        gelu = bool(config.get("quick_gelu"))
        model = open_clip.create_model(arch, pretrained=source, precision="fp32", weights_only=True, force_quick_gelu=gelu)
    except (RuntimeError, OSError, AssertionError) as error:  # open_clip asserts some of its shapes
        raise ValueError(f"the weights {Path(source).name} do not fit {arch}: {' '.join(str(error).split())[:160]}") from error
    assert isinstance(model.visual, nn.Module)
    mean, std = config.get("mean") or open_clip.OPENAI_DATASET_MEAN, config.get("std") or open_clip.OPENAI_DATASET_STD
    return Tower(net=model.visual, mean=tuple(mean), std=tuple(std))


def _behead(net: nn.Module) -> str:
    """Replace the last linear layer with an identity; return its name."""
    name = [name for name, part in net.named_modules() if isinstance(part, nn.Linear)][-1]
    parent, _, leaf = name.rpartition(".")
    setattr(net.get_submodule(parent), leaf, nn.Identity())
    return name


def _vision(arch: str, weights: str, state: Mapping[str, Tensor]) -> Tower:
    net = torchvision.models.get_model(arch, weights=None)
    head = _behead(net)
    if weights.startswith("@"):
        state = read(Path(weights[1:]))
    else:
        try:
            entry = torchvision.models.get_model_weights(arch)[weights]
            state = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except OSError as error:
            hint = OFFLINE.format(kind="torchvision", arch=arch)
            raise ValueError(f"could not fetch the weights {arch}/{weights} ({error}); {hint}") from error
    try:
        net.load_state_dict({name: value for name, value in state.items() if not name.startswith(head + ".")})
    except RuntimeError as error:
        raise ValueError(f"the file does not hold the weights of {arch}: {' '.join(str(error).split())[:160]}") from error
    return Tower(net=net, mean=IMAGENET[0], std=IMAGENET[1])


def _vision_archs() -> list[str]:
    plain = torchvision.models.list_models(module=torchvision.models)
    return [arch for arch in plain if not arch.startswith("squeezenet")]  # its last layer is a convolution


def _vision_tags(arch: str) -> list[str]:
    return list(torchvision.models.get_model_weights(arch).__members__)


def _vision_side(arch: str, image_size: int) -> int:
    return next(iter(torchvision.models.get_model_weights(arch))).transforms().crop_size[0]


def _trained(arch: str, weights: str, state: Mapping[str, Tensor]) -> Tower:
    net = backbone(arch, image_size=0, seed=0) if not state else _shaped(arch, state)
    return Tower(net=net, mean=(MEAN,) * 3, std=(STD,) * 3)


def _shaped(arch: str, state: Mapping[str, Tensor]) -> nn.Module:
    """The backbone whose stem fits the weights: ResNet's depends on the image size that it was trained at."""
    stem = state.get("body.conv1.weight")
    net = backbone(arch, image_size=224 if stem is not None and stem.shape[-1] == 7 else 32, seed=0)
    net.load_state_dict(dict(state))
    return net


FAMILIES: dict[str, Family] = {
    "open_clip": Family(archs=open_clip.list_models, tags=open_clip.list_pretrained_tags_by_model, side=_clip_side, build=_clip),
    "torchvision": Family(archs=_vision_archs, tags=_vision_tags, side=_vision_side, build=_vision),
    "ssl": Family(archs=lambda: list(BACKBONES), tags=lambda arch: [], side=lambda arch, image_size: image_size, build=_trained),
}
