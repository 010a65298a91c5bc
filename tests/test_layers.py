"""Features are the input of the last linear layer and the pooled outputs of the blocks; the network is left as it was."""

import numpy as np
import pytest
import torch
from conftest import photo
from torch import nn

from ray_ue import exploit
from ray_ue.layers import PENULTIMATE, layers, revive
from ray_ue.nets.blocks import blocks
from ray_ue.nets.classifiers import CLASSIFIERS, classifier
from ray_ue.sgd import MEAN, STD, floats
from ray_ue.training import Training
from ray_ue.victims import FLAT, parse

PIXELS = np.stack([photo(seed) for seed in range(6)])
CHEAP = ("linear", "mlp2", "mlp3", "lenet5", "fast", "small", "plain")


def built(name: str) -> nn.Module:
    shown = Training(pixels=PIXELS, clean=PIXELS, labels=np.arange(6) % 3, classes=3)
    return exploit.build(parse(name), shown, size=32, seed=0).eval()


@pytest.mark.parametrize("name", [*CHEAP, "simclr:small", "moco:fast"])
def test_the_last_linear_layer_of_the_features_gives_the_logits(name: str) -> None:
    net = built(name)
    found = layers(net, parse(name).arch, PIXELS, size=32, inner=False)
    assert list(found) == [PENULTIMATE]
    head = [part for part in net.modules() if isinstance(part, nn.Linear)][-1]
    with torch.no_grad():
        logits = net((floats(PIXELS, device=torch.device("cpu")) - MEAN) / STD)
        again = head(torch.from_numpy(found[PENULTIMATE])) / (9 if name == "fast" else 1)
    assert again.numpy() == pytest.approx(logits.numpy(), abs=1e-5)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


@pytest.mark.parametrize("name", CHEAP)
def test_inner_layers_come_before_the_last_one_and_do_not_change_it(name: str) -> None:
    net = built(name)
    every, last = (layers(net, name, PIXELS, size=32, inner=inner) for inner in (True, False))
    np.testing.assert_array_equal(every[PENULTIMATE], last[PENULTIMATE])
    assert list(every) == [*(f"block{number}" for number in range(1, len(every))), PENULTIMATE]
    assert all(found.dtype == np.float32 and found.ndim == 2 and len(found) == 6 for found in every.values())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_network_has_blocks_but_the_linear_one(name: str) -> None:
    net = classifier(name, side=32, classes=3, sample=PIXELS, seed=0)
    found = blocks(net, name)
    assert bool(found) is (name != FLAT[0])
    assert len(found) <= 20
    assert blocks(net, "RN50") == {}, "a given network of another family has none that are known"


def test_the_middle_of_a_larger_view_is_seen() -> None:
    net = built("linear")
    wide = np.pad(PIXELS, ((0, 0), (4, 4), (4, 4), (0, 0)))
    one, other = (layers(net, "linear", pixels, size=32, inner=False)[PENULTIMATE] for pixels in (PIXELS, wide))
    np.testing.assert_array_equal(one, other)


def test_features_too_wide_for_the_memory_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_ue.layers.MOST", 1000)
    with pytest.raises(ValueError, match=r"penultimate has 3,072 features, 0\.0 GiB for 6 rows; lower --rows"):
        layers(built("linear"), "linear", PIXELS, size=32, inner=False)


@pytest.mark.parametrize("name", ["fast", "plain", "moco:small"])
def test_a_victim_comes_back_as_it_was(name: str) -> None:
    net = built(name)
    for value in net.parameters():
        value.data += 0.01
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    again = revive(name, weights, sample=PIXELS[:2], classes=3, size=32)
    one, other = (layers(found, parse(name).arch, PIXELS, size=32, inner=False)[PENULTIMATE] for found in (net, again))
    np.testing.assert_array_equal(one, other)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the saved weights are not those of linear in this version: 1\.bias is \(3,\), not \(4,\)"):
        revive("linear", built("linear").state_dict(), sample=PIXELS, classes=4, size=32)
