"""Networks and their training from fixed seeds, without Ray, are what was recorded: first weights, a few steps, features."""

import numpy as np
import pytest
import torch
from exploiter.test_supervised import run as train
from exploiter.test_supervised import striped
from exploiter.test_train import QUICK, coloured, follow
from golden.comparing import compare, digest, skip_elsewhere
from laws.method_worlds import pictures, surrogate
from laws.test_victim_laws import CHEAP, META, light
from laws.test_victim_laws import net as victim
from models.test_contrastive import run as contrast

from ray_ue.exploiter.defenses.registry import defend
from ray_ue.models.contrastive import weights
from ray_ue.models.pretrained.specs import parse
from ray_ue.models.pretrained.surrogates import load
from ray_ue.models.small import BACKBONES, backbone

TRAINED = ("linear", "mlp2", "fast", "small", "plain", "simclr:small", "simclr:fast", "moco:small")
DEFENDED = ("cutmix", "at:4:1", "ueraser", "early")


@pytest.fixture(autouse=True)
def _machine() -> None:
    skip_elsewhere()


def shapes(net: torch.nn.Module) -> list[list[object]]:
    return [[name, list(value.shape)] for name, value in net.state_dict().items()]


def test_first_weights_of_victims() -> None:
    values = {name: digest(victim(name).state_dict()) for name in CHEAP}
    for name in META:
        with torch.device(light(name)):
            values[name] = digest(shapes(victim(name)))
    compare("first weights", values)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_victims(name: str) -> None:
    history, net, state = follow(name, coloured(), schedule=QUICK)
    told = [[epoch.epoch, epoch.images, epoch.loss] for epoch in history]
    compare(f"trained {name}", {"history": digest(told), "weights": digest(net.state_dict()), "state": digest(list(state.values()))})


@pytest.mark.parametrize("defense", DEFENDED)
def test_defended_victims(defense: str) -> None:
    training = defend(defense, coloured(), rng=np.random.default_rng(5))
    history, net, _ = follow("plain", training, schedule=QUICK)
    compare(f"trained under {defense}", {"losses": digest([epoch.loss for epoch in history]), "weights": digest(net.state_dict())})


def test_the_loop_of_victims() -> None:
    values = {}
    for name, training in (("plain", striped(96)), ("with a hold-out", striped(96, held=16)), ("cropped", striped(96, side=20))):
        history, net, _ = train(training)
        values[name] = digest([[epoch.loss for epoch in history], net.state_dict()])
    compare("loop", values)


def test_contrastive_training_and_features() -> None:
    step = contrast()
    found = weights(step.state())
    images = torch.from_numpy(pictures(8, seed=0)).permute(0, 3, 1, 2).float() / 255
    values = {name: digest(backbone(name, image_size=32, seed=0).state_dict()) for name in BACKBONES}
    values |= {"loss": digest(step.loss), "weights": digest(found)}
    trained = load(parse("ssl:small"), device=torch.device("cpu"), image_size=16, weights=found)
    values |= {"features": digest(trained.features(images.repeat_interleave(2, 2).repeat_interleave(2, 3)))}
    values |= {"features of the methods' surrogate": digest(surrogate().features(images))}
    compare("contrastive", values)
