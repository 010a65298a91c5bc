"""The source network: a copy of it learns by itself."""

import numpy as np
import pytest
import torch
from laws.method_worlds import World

from ray_ue.loop import Workers
from ray_ue.methods._shared.sampler import Sampler
from ray_ue.methods._shared.source_model import SourceModel


def test_a_clone_has_features_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    view = World(name="gue", per="group", home=tmp_path_factory.mktemp("world")).view("a")
    source = SourceModel.create("mlp2", sampler=Sampler(view=view, workers=Workers(), seed=0), decay=0.0, resume={})
    images = view.images(np.arange(4))
    before, clone = source.features(images), source.clone()
    assert torch.equal(clone.features(images), before)
    with torch.no_grad():
        for value in clone.net.parameters():
            value.add_(0.1)
    assert not torch.equal(clone.features(images), before)
    assert torch.equal(source.features(images), before)
