"""Image towers of open_clip, by tag or from a checkpoint file, and its text embeddings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from jaxtyping import Float32
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from torch import Tensor, nn

from ray_ue.models.pretrained.tower import OFFLINE, Family, Tower, read, refuse_unreachable


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
    repository, names = _clip_names(arch, tag)
    for cached in (try_to_load_from_cache(repository, name) for name in names):
        if isinstance(cached, str):
            return cached
    refuse_unreachable(hf_hub_url(repository, names[0]), what=f"{arch}/{tag}", hint=OFFLINE.format(kind="open_clip", arch=arch))
    return tag


def _model(arch: str, weights: str) -> nn.Module:
    """Both towers, with the weights of a tag or of `@` and a file."""
    config = _clip_config(arch, weights)
    source = weights[1:] if weights.startswith("@") else _clip_weights(arch, weights)
    if weights.startswith("@"):
        read(Path(source))  # refuses in our words what is not plain tensors; open_clip then reads it in the same safe way
    try:
        gelu = bool(config.get("quick_gelu"))
        return open_clip.create_model(arch, pretrained=source, precision="fp32", weights_only=True, force_quick_gelu=gelu)
    except (RuntimeError, OSError, AssertionError) as error:  # open_clip asserts some of its shapes
        raise ValueError(f"the weights {Path(source).name} do not fit {arch}: {' '.join(str(error).split())[:160]}") from error


def _clip(arch: str, weights: str, state: Mapping[str, Tensor]) -> Tower:
    model, config = _model(arch, weights), _clip_config(arch, weights)
    assert isinstance(model.visual, nn.Module)
    mean, std = config.get("mean") or open_clip.OPENAI_DATASET_MEAN, config.get("std") or open_clip.OPENAI_DATASET_STD
    return Tower(net=model.visual, mean=tuple(mean), std=tuple(std))


def _bare(arch: str, image_size: int) -> nn.Module:
    """The image tower alone: a text tower could want files of its own."""
    config = open_clip.get_model_config(arch)
    assert config is not None, "check comes first"
    words = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
    model = open_clip.CLIP(embed_dim=config["embed_dim"], vision_cfg=config["vision_cfg"], text_cfg=words)  # type: ignore[arg-type]
    assert isinstance(model.visual, nn.Module)
    return model.visual


@torch.no_grad()
def embed_names(arch: str, weights: str, names: Sequence[str]) -> Float32[np.ndarray, "K D"]:
    """The normalised text embeddings of "a photo of a {name}", as 14A's relabelling takes them."""
    model = _model(arch, weights).eval()
    tokens = open_clip.get_tokenizer(arch)([f"a photo of a {name}" for name in names])
    return F.normalize(model.encode_text(tokens).float(), dim=1).numpy()  # type: ignore[operator]


def _clip_names(arch: str, tag: str) -> tuple[str, list[str]]:
    """The repository of a tag's weights, and the file names under which they can lie there."""
    repository, _, name = open_clip.get_pretrained_cfg(arch, tag)["hf_hub"].rpartition("/")
    return repository, [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]


def _clip_cached() -> tuple[list[str], str]:
    cached = []
    for arch, tag in open_clip.list_pretrained():
        if "hf_hub" not in open_clip.get_pretrained_cfg(arch, tag):
            continue
        repository, names = _clip_names(arch, tag)
        if any(isinstance(try_to_load_from_cache(repository, name), str) for name in names):
            cached.append(f"{arch}/{tag}")
    return cached, HF_HUB_CACHE


FAMILY = Family(
    archs=open_clip.list_models,
    tags=open_clip.list_pretrained_tags_by_model,
    side=_clip_side,
    build=_clip,
    bare=_bare,
    cached=_clip_cached,
)
