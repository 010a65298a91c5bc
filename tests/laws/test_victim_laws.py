"""What every network that an exploiter trains must do."""

import numpy as np
import pytest
import torch
from conftest import photo
from torch import Tensor, nn

from ray_ue.models.classifiers import CLASSIFIERS, classifier
from ray_ue.models.heads import remove_head
from ray_ue.models.names import FLAT, NETS, SMALL, TORCHVISION
from ray_ue.models.small import STEM

CLASSES = 7
CHEAP = [*SMALL, "resnet18"]
# The rest of torchvision's are built without memory: only shapes are looked at, in seconds instead of minutes.
META = [arch for arch in TORCHVISION if arch != "resnet18"]


def sample(side: int) -> np.ndarray:
    return np.stack([photo(seed, height=side, width=side) for seed in range(8)])


def net(arch: str, *, side: int = 32, seed: int = 0) -> nn.Module:
    return classifier(arch, side=side, classes=CLASSES, sample=sample(side), seed=seed)


def light(arch: str) -> str:
    """Where a network that is only looked at may be built: two of them compute with tensors while they are made."""
    return "cpu" if arch in ("fast", "regnet_x_1_6gf") else "meta"


def images(side: int, count: int = 4) -> Tensor:
    return torch.randn((count, 3, side, side), generator=torch.Generator().manual_seed(1))


def test_every_victim_can_be_built_and_has_a_name() -> None:
    assert set(NETS) == set(CLASSIFIERS)
    assert {*CHEAP, *META} == set(CLASSIFIERS)


@pytest.mark.parametrize("arch", CHEAP)
@pytest.mark.parametrize("side", [16, 28, 32, 35, 96])
def test_images_of_any_side_become_logits(arch: str, side: int) -> None:
    if arch == "small" and side % 2:
        pytest.skip("it has a test of its own")
    with torch.no_grad():
        assert net(arch, side=side).eval()(images(side)).shape == (4, CLASSES)


@pytest.mark.parametrize("arch", META)
@pytest.mark.parametrize("side", [16, 28, 32, 224])
def test_large_networks_turn_images_into_logits(arch: str, side: int) -> None:
    if arch.startswith("vgg") and side < 32:
        pytest.skip("it has a test of its own")
    with torch.device(light(arch)):
        built = net(arch, side=side).eval()
    with torch.no_grad():
        assert built.to("meta")(images(side).to("meta")).shape == (4, CLASSES)


@pytest.mark.parametrize("arch", CHEAP)
def test_the_gradient_reaches_every_weight_that_is_trained(arch: str) -> None:
    built = net(arch).train()
    nn.functional.cross_entropy(built(images(32, 8)), torch.arange(8) % CLASSES).backward()
    trained = {name: value for name, value in built.named_parameters() if value.requires_grad}
    assert trained
    assert [name for name, value in trained.items() if value.grad is None or not value.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("arch", CHEAP)
def test_weights_are_a_function_of_the_seed_and_torchs_generator_is_left_alone(arch: str) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (net(arch, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("arch", [arch for arch in NETS if arch not in FLAT])
def test_the_last_layer_gives_way_to_the_features_it_took(arch: str) -> None:
    with torch.device(light(arch)):
        built = net(arch).eval()
    width = remove_head(built)
    assert built.to("meta")(images(32).to("meta")).shape == (4, width)


def sides_of(arch: str, side: int) -> list[int]:
    """The heights of all that the network's convolutions and pools give, in order."""
    seen: list[int] = []
    with torch.device(light(arch)):
        built = net(arch, side=side).eval()
    for part in built.modules():
        if isinstance(part, nn.Conv2d | nn.MaxPool2d):
            part.register_forward_hook(lambda part, given, found: seen.append(found.shape[-1]))
    built.to("meta")(images(side).to("meta"))
    return seen


@pytest.mark.parametrize("arch", [arch for arch in TORCHVISION if not arch.startswith("vit")])
def test_small_images_keep_their_resolution_through_the_stem(arch: str) -> None:
    assert sides_of(arch, 32)[0] == 32
    assert sides_of(arch, STEM)[0] == STEM


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "densenet121"])
def test_no_pool_follows_the_stem_of_small_images(arch: str) -> None:
    assert sides_of(arch, 32)[:2] == [32, 32]
    assert sides_of(arch, 224)[:2] == [112, 56]


@pytest.mark.parametrize(
    ("arch", "side", "phrase"),
    [
        ("vit_b_16", 37, "vit_b_16 cuts images into square patches, of which no number fills 37 pixels; use 36"),
        ("vit_b_16", 100, "no number fills 100 pixels; use a multiple of 16"),
        ("vgg11_bn", 31, "vgg11_bn halves its images five times, which leaves nothing of 31 pixels; use --image-size 32 or more"),
        ("small", 35, "small cuts images into patches of 2 pixels, which do not fill 35; use an even --image-size"),
    ],
)
def test_sides_that_a_network_cannot_take_are_refused_with_one_that_works(arch: str, side: int, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        net(arch, side=side)


@pytest.mark.parametrize(("side", "patch"), [(16, 2), (28, 4), (32, 4), (35, 5), (36, 4), (60, 6), (64, 8), (224, 16)])
def test_a_transformer_sees_about_eight_by_eight_patches_of_a_small_image(side: int, patch: int) -> None:
    with torch.device("meta"):
        built = net("vit_b_16", side=side)
    assert built.get_submodule("conv_proj").kernel_size == (patch, patch)


def test_whitened_patches_have_unit_variance_and_stay_frozen() -> None:
    from ray_ue.models.airbench import KEPT, whitening_filters

    pixels = sample(32)
    eyes = whitening_filters(pixels)
    assert eyes.shape == (KEPT, 3, 4, 4)
    normal = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    seen = nn.functional.conv2d(normal, eyes, stride=2).transpose(0, 1).flatten(1)
    strong = seen.var(1)[:8]
    assert torch.allclose(strong, torch.ones(8), atol=0.1)
    built = net("fast")
    assert [name for name, value in built.named_parameters() if not value.requires_grad] == ["eyes.weight"]
