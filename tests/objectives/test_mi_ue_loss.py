"""The MI-UE loss against closed forms (the values are derived in the docstrings), and its slopes where they could break."""

import math

import pytest
import torch
import torch.nn.functional as F

from ray_ue.objectives.mi_ue import distance, mi_loss, prototype_loss, similarity

B, C = 512, 8  # so that all groups are of one size


def groups() -> torch.Tensor:
    return torch.arange(B) % C


def test_both_forms_of_the_similarity_agree() -> None:
    """-log(P / (P + N)) = log(1 + N / P), with the 1e-8 that the authors add to every exponential."""
    features = torch.randn((60, 16), generator=torch.Generator().manual_seed(0)).relu()
    kinds = torch.arange(60) % 5
    normal = F.normalize(features, dim=1)
    near = torch.exp(normal @ normal.T / 0.1) + 1e-8
    same = kinds[:, None] == kinds[None, :]
    own, others = (near * same).sum(1), (near * ~same).sum(1)
    found = similarity(features, kinds, tau=0.1, itself=True)
    assert torch.isclose(found, torch.log1p(others / own).mean(), rtol=1e-5)
    assert torch.isclose(found, -torch.log(own / (own + others)).mean(), rtol=1e-5)


def test_groups_that_are_orthogonal_and_collapsed_reach_the_floor() -> None:
    """log(1 + (C - 1)(B / C)(1 + 1e-8) / ((B / C) e^10)) = 3.2e-4 at C = 8; the spec's 4.1e-4 is C = 10."""
    features = F.one_hot(groups(), 16).float() * 3
    assert float(similarity(features, groups(), tau=0.1, itself=True)) == pytest.approx(math.log1p(7 * math.exp(-10)), rel=1e-3)
    ten = torch.arange(500) % 10
    assert float(similarity(F.one_hot(ten, 16).float(), ten, tau=0.1, itself=True)) == pytest.approx(4.1e-4, rel=0.01)


def test_features_that_are_all_alike_give_the_logarithm_of_the_number_of_groups() -> None:
    assert float(similarity(torch.ones((B, 16)), groups(), tau=0.1, itself=True)) == pytest.approx(math.log(C), rel=1e-5)


def test_the_row_itself_dominates_early_and_can_be_left_out() -> None:
    """Random features after a ReLU: with the row itself the loss is far smaller, since e^10 stands beside 51 small terms."""
    features = torch.randn((B, 512), generator=torch.Generator().manual_seed(0)).relu()
    ten = torch.arange(B) % 10
    assert float(similarity(features, ten, tau=0.1, itself=True)) == pytest.approx(0.40, abs=0.02)
    assert float(similarity(features, ten, tau=0.1, itself=False)) == pytest.approx(2.32, abs=0.02)


def test_rows_without_a_partner_are_left_out_when_they_do_not_count_themselves() -> None:
    features = torch.randn((6, 4), generator=torch.Generator().manual_seed(1)).requires_grad_()
    alone = similarity(features, torch.arange(6), tau=0.1, itself=False)
    (slope,) = torch.autograd.grad(alone, features)
    assert float(alone.detach()) == 0
    assert not slope.any()
    some = similarity(features, torch.tensor([0, 0, 1, 2, 3, 4]), tau=0.1, itself=False)
    assert torch.isfinite(some)
    assert some > 0


def test_the_distance_is_the_authors() -> None:
    features = torch.tensor([[0.0, 0], [3, 4], [0, 0], [6, 8]])
    kinds = torch.tensor([0, 0, 1, 1])
    expected = (2 * math.log1p(5 / 2) + 2 * math.log1p(10 / 2)) / 4
    assert float(distance(features, kinds)) == pytest.approx(expected, rel=1e-6)


def test_the_distance_of_a_whole_batch_is_that_of_its_pairs() -> None:
    features, kinds = torch.randn((B, 8), generator=torch.Generator().manual_seed(4)).relu(), groups()
    apart = (features[:, None] - features[None, :]).square().sum(2).sqrt()
    same = kinds[:, None] == kinds[None, :]
    expected = torch.log1p((apart * same).sum(1) / 8).mean()
    assert float(distance(features, kinds)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("zeta", [0.0, 0.1])
@pytest.mark.parametrize("rows", [12, B])
def test_slopes_are_finite_even_where_features_coincide(rows: int, zeta: float) -> None:
    """Above 25 rows torch.cdist goes by a matrix product."""
    features = torch.randn((rows, 8), generator=torch.Generator().manual_seed(2)).relu()
    features[1] = features[0]
    features[2] = 0
    features.requires_grad_()
    value = mi_loss(features, torch.arange(rows) % 3, tau=0.1, zeta=zeta, itself=True)
    (slope,) = torch.autograd.grad(value, features)
    assert torch.isfinite(slope).all()
    assert slope.any()


def test_half_precision_features_do_not_overflow() -> None:
    """512 e^10 is beyond fp16: everything is fp32 inside."""
    features = torch.randn((B, 16), generator=torch.Generator().manual_seed(3)).half()
    assert torch.isfinite(mi_loss(features, groups(), tau=0.1, zeta=0.1, itself=True))


def test_prototypes_pull_to_the_aimed_one() -> None:
    prototypes = torch.eye(4) * 5 + 100  # far from the origin: without centring all cosines would be one
    here = prototypes[[0, 1]]
    assert float(prototype_loss(here, prototypes, torch.tensor([0, 1]), tau=0.1)) < 1e-4
    assert float(prototype_loss(here, prototypes, torch.tensor([1, 2]), tau=0.1)) > 5
