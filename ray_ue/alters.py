"""What a defense does to each batch: noise, cuts, mixes, random augmentation and attacks. Knows one batch and its `Moment`, no data set.

Each is an `Alter` whose own settings come first: `partial(noise, 8)` is one. Results stay in [0, 1] and inputs are left as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torchvision.transforms import v2

from ray_ue.augment import crop, draw
from ray_ue.training import Images, Moment, Targets
from ray_ue.types import Rng

GREY = 0.5  # what a network sees as 0 after the victims' normalisation
GROUP = 8  # images that share a draw of torchvision's policies: alone they cost five times as much
SWING = 2  # of `mix`: on CIFAR-10 under 10 block patterns a small net gains from 17 to 24 % with 1, to 37 % with 2
DRAWS, HARD = 5, 0.3  # UEraser: the worst of 5 draws, for the first 60 of 200 epochs


@contextmanager
def seeded(rng: Rng, images: Images) -> Iterator[None]:
    """torchvision and kornia draw from torch's global generators: seed them from `rng`, and put them back."""
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        seed = int(rng.integers(2**62))
        torch.default_generator.manual_seed(seed)
        if images.is_cuda:
            with torch.cuda.device(images.device):
                torch.cuda.manual_seed(seed)
        yield


def noise(levels: float, images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
    """Fresh Gaussian noise of `levels` standard deviation in every step."""
    source = torch.Generator(images.device).manual_seed(int(moment.rng.integers(2**62)))
    drawn = torch.randn(images.shape, generator=source, device=images.device)
    return (images + drawn * (levels / 255)).clamp(0, 1), targets


def cutout(share: float, images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
    """A grey square of `share` of the side at a random place, partly outside near an edge (DeVries & Taylor 2017)."""
    height, width = images.shape[-2:]
    side = max(1, round(share * height))
    inside = []
    for length in (height, width):
        start = torch.from_numpy(moment.rng.integers(0, length, len(images)) - side // 2).to(images.device)[:, None]
        places = torch.arange(length, device=images.device)
        inside.append((places >= start) & (places < start + side))
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(square, GREY), targets


def cutmix(alpha: float, images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
    """A box of each image comes from the next one, and so does its share of the label (Yun et al. 2019); one draw a batch.

    The UC authors' code mixes images at a fixed share and no labels.
    """
    with seeded(moment.rng, images):
        return v2.CutMix(alpha=alpha)(images, targets)


def mixup(alpha: float, images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
    """Each image and label blends with the next one (Zhang et al. 2018); one draw a batch. The UC authors' code mixes no labels."""
    with seeded(moment.rng, images):
        mixed, targets = v2.MixUp(alpha=alpha)(images, targets)
    return mixed.clamp(0, 1), targets


def randaugment(images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
    """Two operations of magnitude 9 (Cubuk et al. 2020), drawn anew for every 8 images."""
    with seeded(moment.rng, images):
        return _bytewise(v2.RandAugment(num_ops=2, magnitude=9), images), targets


def ueraser(kind: str, images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
    """UEraser (Qin et al. 2023, arXiv 2303.15127): plasma brightness and contrast, channel shuffle, TrivialAugment.

    "lite" draws once. "max" draws five times and keeps each image's worst, for the first 30 % of the training. TrivialAugment is
    torchvision's, on 8 images a draw, where the authors use kornia's.
    """
    with seeded(moment.rng, images), torch.no_grad():
        if kind == "lite" or moment.done >= HARD:
            return _erase(images), targets
        drawn = torch.stack([_erase(images) for _ in range(DRAWS)])
        worst = torch.stack([moment.loss(seen, targets) for seen in drawn]).argmax(0)
    return drawn[worst, torch.arange(len(images), device=images.device)], targets


def adversarial(levels: float, steps: int, images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
    """PGD from a random start within `levels` of 255 (Madry et al. 2018), against the largest part of each target.

    Ten steps are of 2/255 at every radius, as in MI-UE's code; another number of steps takes 2.5 radii together.
    """
    radius, step = levels / 255, 2 / 255 if steps == 10 else 2.5 * levels / 255 / steps
    hard = F.one_hot(targets.argmax(1), targets.shape[1]).to(targets.dtype)
    source = torch.Generator(images.device).manual_seed(int(moment.rng.integers(2**62)))
    start = torch.rand(images.shape, generator=source, device=images.device) * (2 * radius) - radius
    seen = (images + start).clamp(0, 1)
    for _ in range(steps):
        seen.requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(moment.loss(seen, hard).sum(), seen)
        moved = seen.detach() + step * slope.sign()
        seen = torch.minimum(torch.maximum(moved, images - radius), images + radius).clamp(0, 1)
    return seen.detach(), targets


def mix(deltas: Float32[np.ndarray, "S H W 3"], images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
    """One of the `deltas` (in levels), drawn for each image anew and cropped and flipped as an image is, times a weight from -2 to 2."""
    count, size = len(images), images.shape[-1]
    chosen = torch.from_numpy(deltas[moment.rng.integers(0, len(deltas), count)]).permute(0, 3, 1, 2)
    cut = crop(chosen, draw(count, canvas=deltas.shape[1], size=size, flips=0.5, rng=moment.rng))
    weights = torch.from_numpy(moment.rng.uniform(-SWING, SWING, (count, 1, 1, 1)).astype(np.float32))
    return (images + (cut * weights / 255).to(images.device)).clamp(0, 1), targets


def _erase(images: Images) -> Images:
    return _bytewise(v2.TrivialAugmentWide(), _plasma()(images))


@cache
def _plasma() -> nn.Module:
    import kornia.augmentation as kornia  # seconds to import, for one defense

    return nn.Sequential(
        kornia.RandomPlasmaBrightness(roughness=(0.3, 0.7), intensity=(0.5, 1.0), p=0.5),
        kornia.RandomPlasmaContrast(roughness=(0.3, 0.7), p=0.5),
        kornia.RandomChannelShuffle(p=0.5),
    )


def _bytewise(policy: Callable[[Tensor], Tensor], images: Float[Tensor, "B 3 h w"]) -> Images:
    """The images under a policy that is made for uint8, one draw for every few of them."""
    wide = (images * 255).round().clamp(0, 255).to(torch.uint8).contiguous()
    return torch.cat([policy(part) for part in wide.split(GROUP)]).float().div(255)
