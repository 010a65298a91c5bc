"""LPIPS, when its package is installed and its weights lie on disk already; nothing is ever fetched."""

import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

WEIGHTS = "alexnet-owt-7be5be79.pth"  # torchvision's ImageNet AlexNet, by the name under which torch.hub keeps it
Image = UInt8[np.ndarray, "H W 3"]


def absent() -> str:
    """What LPIPS lacks here, and how to get it; empty when it can be measured."""
    if find_spec("lpips") is None:
        return "LPIPS is not measured: install it with pip install 'ray-ue[lpips]'"
    if not weights().is_file():
        return f"LPIPS is not measured: put torchvision's {WEIGHTS} at {weights()}; it is never fetched"
    return ""


def weights() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


@torch.no_grad()
def lpips(pairs: Iterable[tuple[Image, Image]]) -> list[float]:
    """The distance of each pair (Zhang et al. 2018, version 0.1, AlexNet): 0 for equal images. Only where nothing is `absent`."""
    from lpips import LPIPS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision in an old way
        measure = LPIPS(net="alex", pnet_rand=True, verbose=False).eval()  # random here, so that nothing is downloaded
    trained = torch.load(weights(), map_location="cpu", weights_only=True)
    trained_name = {name: f"features.{name.split('.', 1)[1]}" for name in measure.net.state_dict()}  # slice2.3.weight is features.3.weight
    measure.net.load_state_dict({name: trained[known] for name, known in trained_name.items()})
    return [float(measure(_tensor(before), _tensor(after))) for before, after in pairs]


def _tensor(image: Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float().div(127.5).sub(1)
