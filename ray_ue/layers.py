"""What a trained victim makes of images, layer by layer. Knows how to bring one back from its weights, no files and no estimators."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from ray_ue import exploit
from ray_ue.nets.blocks import blocks
from ray_ue.sgd import CHUNK, MEAN, STD, floats
from ray_ue.training import Block, Training
from ray_ue.victims import parse

PENULTIMATE = "penultimate"
MOST = 4 * 2**30  # bytes of one layer's features

Layers = dict[str, Float32[np.ndarray, "n _"]]


def revive(name: str, weights: Mapping[str, Tensor], *, sample: Block, classes: int, size: int) -> nn.Module:
    """The victim called `name` as it was when its `weights` were saved; `sample` is any few of its training images.

    A `ValueError` where the network that it started from is not at hand, or the weights are another network's.
    """
    shown = Training(pixels=sample, clean=sample, labels=np.zeros(len(sample), np.int64), classes=classes)
    net = exploit.build(parse(name), shown, size=size, seed=0)
    there, here = ({key: tuple(value.shape) for key, value in state.items()} for state in (weights, net.state_dict()))
    if there != here:
        odd = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
        raise ValueError(
            f"the saved weights are not those of {name} in this version: {odd[0]} is {there.get(odd[0])}, not {here.get(odd[0])}"
        )
    net.load_state_dict(dict(weights))
    return net


def layers(net: nn.Module, arch: str, pixels: Block, *, size: int, inner: bool) -> Layers:
    """Features of the centre of each image, in evaluation mode: the input of the last linear layer, `penultimate`, and with `inner`
    also each main block's output, averaged over places or tokens."""
    head = [name for name, part in net.named_modules() if isinstance(part, nn.Linear)][-1]
    found: dict[str, list[np.ndarray]] = {}
    device, low = next(net.parameters()).device, (pixels.shape[1] - size) // 2
    net.eval()
    with torch.inference_mode(), seen(net, head, blocks(net, arch) if inner else {}) as passing:
        for begin in range(0, len(pixels), CHUNK):
            part = pixels[begin : begin + CHUNK, low : low + size, low : low + size]
            net(((floats(part, device=device) - MEAN) / STD).contiguous(memory_format=torch.channels_last))
            for layer, values in passing.items():
                if (need := 4 * values.shape[1] * len(pixels)) > MOST:
                    raise ValueError(
                        f"{layer} has {values.shape[1]:,} features, {need / 2**30:.1f} GiB for {len(pixels):,} rows; lower --rows"
                    )
                found.setdefault(layer, []).append(values.cpu().numpy())
    return {layer: np.concatenate(parts) for layer, parts in found.items()}


@contextmanager
def seen(net: nn.Module, head: str, inner: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """What the last forward pass made, by layer. Hooks, because the networks are not ours to cut; none is left after the block."""
    passing: dict[str, Tensor] = {}

    def note(layer: str):
        return lambda part, given, made: passing.__setitem__(layer, pooled(made))

    handles = [net.get_submodule(name).register_forward_hook(note(layer)) for layer, name in inner.items()]
    last = net.get_submodule(head)
    handles.append(last.register_forward_pre_hook(lambda part, given: passing.__setitem__(PENULTIMATE, pooled(given[0]))))
    try:
        yield passing
    finally:
        for handle in handles:
            handle.remove()


def pooled(values: Tensor) -> Tensor:
    """[B, D] of [B, D], of maps [B, D, h, w] or of tokens [B, T, D]."""
    flat = values.mean((2, 3)) if values.dim() == 4 else values.mean(1) if values.dim() == 3 else values
    return flat.float().clone()  # a later layer may work in place
