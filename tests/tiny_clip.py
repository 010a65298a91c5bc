"""A real open_clip checkpoint with random weights, small enough for a test; its text tower reads real words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import open_clip
import torch
from open_clip import factory
from safetensors.torch import save_file

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 28, "layers": 2, "width": 32, "head_width": 16, "patch_size": 7},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@contextmanager
def tiny_clip(folder: Path, *, name: str) -> Iterator[str]:
    """The surrogate's spec; the architecture called `name` is known to open_clip while the block runs."""
    config = folder / f"{name}.json"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(name)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "tiny.safetensors")
    try:
        yield f"open_clip:{name}@{folder / 'tiny.safetensors'}"
    finally:
        factory._MODEL_CONFIG_PATHS.remove(config)
        factory._rescan_model_configs()
