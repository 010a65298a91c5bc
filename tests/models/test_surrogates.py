"""Surrogates: names, refusals, geometry, and features that are raw, differentiable and those of the weights in the file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip import factory
from safetensors.torch import save_file
from torchvision.models import resnet18

from ray_ue.models.pretrained.specs import Spec, check, family, geometry, identity, parse
from ray_ue.models.pretrained.surrogates import Surrogate, fit, load
from ray_ue.models.small import backbone

CPU = torch.device("cpu")
TINY = "tiny-test-clip"
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real open_clip checkpoint of an architecture small enough for a test."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / f"{TINY}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{TINY}.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(TINY)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "tiny.safetensors")
    torch.save({"state_dict": model.state_dict()}, folder / "tiny.pt")
    yield folder / "tiny.safetensors"
    factory._MODEL_CONFIG_PATHS.remove(folder / f"{TINY}.json")
    factory._rescan_model_configs()


def plain(text: str) -> Surrogate:
    return load(parse(text), device=CPU, image_size=32, weights={})


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("open_clip:RN50/openai", Spec(kind="open_clip", arch="RN50", weights="openai")),
        ("open_clip:RN50@/a/b/file.pt", Spec(kind="open_clip", arch="RN50", weights="@/a/b/file.pt")),
        ("torchvision:resnet50", Spec(kind="torchvision", arch="resnet50", weights="IMAGENET1K_V1")),
        ("torchvision:resnet50/IMAGENET1K_V2", Spec(kind="torchvision", arch="resnet50", weights="IMAGENET1K_V2")),
        ("torchvision:resnet50@w.pth", Spec(kind="torchvision", arch="resnet50", weights="@w.pth")),
        ("ssl:small", Spec(kind="ssl", arch="small", weights="")),
    ],
)
def test_names_are_taken_apart_and_put_together(text: str, spec: Spec) -> None:
    assert parse(text) == spec
    assert parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text", ["", "RN50", "clip:RN50", "open_clip:", "open_clip:RN50", "ssl:small@x.pt", "ssl:small/tag", "torchvision:r@"]
)
def test_what_is_no_name_is_refused_with_names_that_work(text: str) -> None:
    with pytest.raises(ValueError, match=r"write timm:tf_efficientnet_lite0, open_clip:RN50/openai, .* ssl:resnet18"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("open_clip:RN5O/openai", "no architecture 'RN5O'; the nearest names are RN50"),
        ("open_clip:RN50/opena1", "no weights 'opena1'; there are openai"),
        ("torchvision:resnet51", "nearest names are resnet50"),
        ("torchvision:resnet50/V3", "there are IMAGENET1K_V1, IMAGENET1K_V2"),
        ("torchvision:resnet50@nowhere.pth", "there is no weights file nowhere.pth"),
        ("torchvision:resnet50@weights.pkl", "must end in one of .safetensors"),
        ("ssl:tiny", "ssl has no architecture 'tiny'"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_loading(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(parse(text))


@pytest.mark.parametrize("text", ["open_clip:RN50/openai", "open_clip:ViT-B-32/laion2b_s34b_b79k", "torchvision:resnet50", "ssl:resnet18"])
def test_known_surrogates_pass_the_check(text: str) -> None:
    check(parse(text))


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("open_clip:RN50/openai", (256, 224)),
        ("open_clip:RN50x4/openai", (329, 288)),
        ("torchvision:resnet50", (256, 224)),
        ("ssl:small", (32, 32)),
    ],
)
def test_geometry(text: str, sides: tuple[int, int]) -> None:
    assert geometry(parse(text), image_size=32) == sides


def test_a_file_is_its_content_not_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"same")
    (tmp_path / "b.pt").write_bytes(b"same")
    one, other = (identity(parse(f"torchvision:resnet50@{tmp_path / name}")) for name in ("a.pt", "b.pt"))
    assert one == other
    (tmp_path / "b.pt").write_bytes(b"different")
    assert identity(parse(f"torchvision:resnet50@{tmp_path / 'b.pt'}")) != one
    assert str(tmp_path) not in str(one)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_clip_checkpoint_gives_the_image_towers_raw_features(clip_file: Path, suffix: str) -> None:
    file = clip_file.with_suffix(suffix)
    surrogate = plain(f"open_clip:{TINY}@{file}")
    images = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).requires_grad_()
    model = open_clip.create_model(TINY, pretrained=str(file)).eval()
    mean, std = torch.tensor(open_clip.OPENAI_DATASET_MEAN)[:, None, None], torch.tensor(open_clip.OPENAI_DATASET_STD)[:, None, None]
    expected = cast(Any, model).encode_image((images - mean) / std, normalize=False)
    features = surrogate.features(images)
    assert (surrogate.canvas, surrogate.size, surrogate.width) == (73, 64, 24)
    assert features.dtype == torch.float32
    assert torch.allclose(features, expected, atol=1e-5)
    assert torch.autograd.grad(features.sum(), images)[0].abs().sum() > 0


def test_a_surrogate_is_frozen_and_in_evaluation_mode(clip_file: Path) -> None:
    surrogate = plain(f"open_clip:{TINY}@{clip_file}")
    assert not surrogate.net.training
    assert not any(value.requires_grad for value in surrogate.net.parameters())


def test_weights_of_another_architecture_are_refused(clip_file: Path) -> None:
    with pytest.raises(ValueError, match="do not fit RN50"):
        plain(f"open_clip:RN50@{clip_file}")


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(backbone("small", image_size=32, seed=0), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model.pt is not a plain dict of tensors.* save its state_dict as safetensors"):
        plain(f"torchvision:resnet18@{tmp_path / 'model.pt'}")


def test_torchvision_features_enter_the_last_layer(tmp_path: Path) -> None:
    net = resnet18(weights=None, num_classes=7).eval()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    surrogate = plain(f"torchvision:resnet18@{tmp_path / 'net.safetensors'}")
    images = torch.rand((1, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    logits = net((images - surrogate.mean) / surrogate.std)
    assert surrogate.width == 512
    assert torch.allclose(F.linear(surrogate.features(images), net.fc.weight, net.fc.bias), logits, atol=1e-4)


@pytest.mark.parametrize("arch", ["small", "resnet18"])
def test_a_trained_surrogate_carries_its_weights(arch: str) -> None:
    net = backbone(arch, image_size=32, seed=5).eval()
    surrogate = load(parse(f"ssl:{arch}"), device=CPU, image_size=32, weights=net.state_dict())
    images = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net((images - surrogate.mean) / surrogate.std)
    assert torch.allclose(surrogate.features(images), expected, atol=1e-5)


def test_a_trained_surrogate_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="needs its trained weights"):
        plain("ssl:small")


def test_views_are_scaled_by_the_shorter_side_and_cropped_in_the_centre() -> None:
    images = torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    assert torch.equal(fit(images, canvas=16, size=12), images[:, :, 2:14, 2:14])
    assert torch.equal(fit(images, canvas=20, size=16), images)
    assert fit(torch.rand(1, 3, 40, 80), canvas=16, size=12).shape == (1, 3, 12, 12)


def test_a_backbone_is_a_function_of_its_seed() -> None:
    one, same, other = (backbone("small", image_size=32, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["body.1.0.weight"], other["body.1.0.weight"])


def shapes(net: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in net.state_dict().items()}


def test_a_tower_with_random_weights_is_the_one_that_the_weights_will_fill(clip_file: Path, tmp_path: Path) -> None:
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "net.pt")
    for text in (f"open_clip:{TINY}@{clip_file}", f"torchvision:resnet18@{tmp_path / 'net.pt'}"):
        spec = parse(text)
        assert shapes(family(spec.kind).bare(spec.arch, 64)) == shapes(plain(text).net)
    assert shapes(family("ssl").bare("small", 32)) == shapes(backbone("small", image_size=32, seed=3))
