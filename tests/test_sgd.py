"""The victim loop: it learns, it is a function of its seed, and it refuses what does not match."""

import numpy as np
import pytest
import torch

from ray_ue import sgd
from ray_ue.nets.small import BACKBONES, backbone, classifier

CPU = torch.device("cpu")


def stripes(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that any victim can tell apart: dark tops and dark bottoms, under noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    pixels = rng.integers(90, 160, (count, 16, 16, 3))
    for row, label in enumerate(labels):
        pixels[row, 8 * label : 8 * label + 8] -= 60
    return pixels.astype(np.uint8), labels


def run(seed: int, epochs: int = 4) -> tuple[list[sgd.Epoch], torch.nn.Module]:
    pixels, labels = stripes(128, seed=0)
    net = classifier("small", image_size=16, classes=2, seed=seed)
    history = sgd.train(
        pixels, labels, net=net, epochs=epochs, batch=32, lr=0.05, seed=seed, device=CPU, test=stripes(64, seed=1), flips=0.0
    )
    return list(history), net


def test_a_victim_learns_what_can_be_learnt() -> None:
    history, net = run(seed=0)
    assert [entry.epoch for entry in history] == [1, 2, 3, 4]
    assert history[-1].loss < history[0].loss
    assert history[-1].accuracy > 0.9
    assert sgd.accuracy(net, *stripes(64, seed=1)) == history[-1].accuracy


def test_same_seed_same_victim() -> None:
    assert run(seed=3, epochs=1)[0] == run(seed=3, epochs=1)[0]
    assert run(seed=3, epochs=1)[0] != run(seed=4, epochs=1)[0]


@pytest.mark.usefixtures("unchecked")
def test_labels_must_match_the_images() -> None:
    pixels, labels = stripes(8, seed=0)
    net = classifier("small", image_size=16, classes=2, seed=0)
    with pytest.raises(ValueError, match="8 images have 7 labels"):
        next(sgd.train(pixels, labels[:7], net=net, epochs=1, batch=4, lr=0.1, seed=0, device=CPU, test=(pixels, labels)))


@pytest.mark.parametrize("arch", BACKBONES)
@pytest.mark.parametrize("side", [32, 96])
def test_backbones_give_their_width_and_leave_the_global_seed_alone(arch: str, side: int) -> None:
    before = torch.random.get_rng_state()
    net = backbone(arch, image_size=side, seed=0).eval()
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.no_grad():
        assert net(torch.zeros(2, 3, side, side)).shape == (2, net.width)
    same = backbone(arch, image_size=side, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), same.state_dict().values(), strict=True))
