"""Losses: the direction, scale and invariances that the UC authors' code has."""

import pytest
import torch

from ray_ue.objectives.anchor import LOSSES, kl


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", LOSSES)
def test_no_distance_to_itself_and_some_to_others(name: str) -> None:
    features, centers = rows(5, 64), rows(5, 64, seed=1)
    assert LOSSES[name](features, features).abs().max() < 1e-6
    assert (LOSSES[name](features, centers) > 0.01).all()


def test_kl_runs_from_the_center_to_the_feature() -> None:
    center, feature = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    p, q = center.softmax(1), feature.softmax(1)
    assert kl(feature, center).item() == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-5)
    assert kl(center, feature).item() != pytest.approx(kl(feature, center).item(), rel=0.01)


@pytest.mark.parametrize("spread", [0.01, 0.1])
def test_kl_is_half_the_variance_of_small_differences(spread: float) -> None:
    features, centers = spread * rows(8, 1024).double(), spread * rows(8, 1024, seed=1).double()
    half = 0.5 * (features - centers).var(1, correction=0)
    assert torch.allclose(kl(features, centers), half, rtol=0.05)


def test_kl_ignores_a_common_shift_but_not_a_scale() -> None:
    features, centers = rows(4, 32), rows(4, 32, seed=1)
    assert torch.allclose(kl(features + 3, centers), kl(features, centers), atol=1e-5)
    assert not torch.allclose(kl(3 * features, centers), kl(features, centers), rtol=0.1)
