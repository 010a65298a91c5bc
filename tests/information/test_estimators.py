"""Every estimator against a closed form, with its tolerance; what must not change an estimate does not; wrong input is one clear line."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from ray_ue.information import ESTIMATORS, ETA, Histogram, Kde, Knn, Mine, directions, groupwise
from ray_ue.information.base import Estimator
from ray_ue.information.scalar import histogram, kde, knn

CPU = torch.device("cpu")
ROWS = 4000
# name -> (value, how far off it may be: five seeds were off by at most 0.037, 0.052 (smoothing, at 0.9) and 0.020)
SCALARS = {
    "histogram": (lambda u, v: histogram(u, v, bins=30)[1], 0.05),
    "kde": (lambda u, v: kde(u, v, device=CPU), 0.08),
    "knn": (lambda u, v: knn(u, v, neighbours=3, rng=np.random.default_rng(5)), 0.04),
}
FAST = {"histogram": Histogram(slices=20), "knn": Knn(slices=10), "kde": Kde(slices=4, rows=500), "mine": Mine(steps=20, hidden=(16,))}


def correlated(rho: float, *, rows: int = ROWS, width: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal pairs, [n, width] each, whose coordinates correlate one by one."""
    one, other = np.random.default_rng(seed).standard_normal((2, rows, width))
    return one.astype(np.float32), (rho * one + math.sqrt(1 - rho**2) * other).astype(np.float32)


def gaussian(rho: float | np.ndarray) -> float:
    return float(np.mean(-0.5 * np.log(1 - np.square(rho))))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("name", SCALARS)
def test_two_gaussian_numbers_tell_what_the_closed_form_says(name: str, rho: float) -> None:
    u, v = (part[:, 0] for part in correlated(rho))
    estimate, wrong = SCALARS[name]
    assert estimate(u, v) == pytest.approx(gaussian(rho), abs=wrong)


@pytest.mark.parametrize("name", SCALARS)
def test_units_and_order_do_not_matter(name: str) -> None:
    estimate, _ = SCALARS[name]
    u, v = (part[:, 0] for part in correlated(0.7, rows=1000))
    found = estimate(u, v)
    assert estimate(v, u) == pytest.approx(found, abs=1e-5)
    assert estimate(8 * u, v + 2) == pytest.approx(found, abs=2e-3)
    order = np.random.default_rng(0).permutation(len(u))
    assert estimate(u[order], v[order]) == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("name", SCALARS)
def test_a_constant_tells_nothing(name: str) -> None:
    u, v = (part[:, 0] for part in correlated(0.7, rows=200))
    assert SCALARS[name][0](np.zeros_like(u), v) == pytest.approx(0, abs=1e-12)


def test_a_number_tells_of_itself_the_entropy_of_its_bins() -> None:
    u = correlated(0.0)[0][:, 0]
    share = np.histogram(u.astype(np.float64), bins=30)[0] / len(u)
    share = share[share > 0]
    assert histogram(u, u, bins=30)[0] == pytest.approx(-(share * np.log(share)).sum(), abs=1e-3)
    assert knn(u, u, neighbours=3, rng=np.random.default_rng(0)) > 6, "without bound as rows are added"


def test_kernels_tell_of_itself_what_their_width_leaves() -> None:
    """Of a standard normal number, with kernels of width h, p(u) is N(0, 1 + h^2) and p(u, u) is N(0, 1 + h^2 / 2) / (2 h sqrt(pi))."""
    u = correlated(0.0)[0][:, 0]
    h = len(u) ** (-1 / 6)
    single, both = 1 + h**2, 1 + h**2 / 2
    joint = -math.log(2 * h * math.sqrt(math.pi)) - 0.5 * math.log(2 * math.pi * both) - 1 / (2 * both)
    expected = joint + math.log(2 * math.pi * single) + 1 / single
    assert kde(u, u, device=CPU) == pytest.approx(expected, abs=0.05)


def test_the_correction_takes_most_of_the_bias_away() -> None:
    u, v = (part[:, 0] for part in correlated(0.0))
    plain, corrected = histogram(u, v, bins=30)
    assert plain > 0.05
    assert abs(corrected) < plain / 3


@pytest.mark.parametrize(
    "estimator", [Histogram(slices=40), Knn(slices=40), Kde(slices=20, rows=3000)], ids=lambda made: type(made).__name__
)
def test_the_sliced_information_of_gaussians_is_that_of_the_same_slices(estimator: Histogram | Knn | Kde) -> None:
    """For each pair of directions the two projections are a Gaussian pair of known correlation."""
    width, rng = 2, np.random.default_rng(1)
    mixing = np.block([[np.eye(width), np.zeros((width, width))], [rng.standard_normal((width, width)), 0.2 * np.eye(width)]])
    whole = np.random.default_rng(2).standard_normal((ROWS, 2 * width)) @ mixing.T
    cov = mixing @ mixing.T
    one, cross, other = cov[:width, :width], cov[:width, width:], cov[width:, width:]
    found = estimator(whole[:, :width].astype(np.float32), whole[:, width:].astype(np.float32), rng=np.random.default_rng(3), device=CPU)
    drawn = np.random.default_rng(3)
    if isinstance(estimator, Kde):
        drawn.permutation(ROWS)
    if isinstance(estimator, Knn):
        drawn.integers(2**63)
    theta, phi = (directions(drawn, slices=estimator.slices, width=width) for _ in range(2))
    rho = np.einsum("md,de,me->m", theta, cross, phi) / np.sqrt(
        np.einsum("md,de,me->m", theta, one, theta) * np.einsum("md,de,me->m", phi, other, phi)
    )
    value = found.corrected if isinstance(estimator, Histogram) else found.value
    assert value == pytest.approx(gaussian(rho), abs=0.1 if isinstance(estimator, Kde) else 0.05), "kernels blur strong dependence"
    assert gaussian(rho) > 0.3, "there is something to find"
    assert found.stderr == pytest.approx(np.std(-0.5 * np.log(1 - rho**2), ddof=1) / math.sqrt(estimator.slices), rel=0.3)


def test_directions_are_unit_vectors() -> None:
    assert np.linalg.norm(directions(np.random.default_rng(0), slices=7, width=5), axis=1) == pytest.approx(1)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_mine_bounds_what_whole_vectors_tell(rho: float) -> None:
    """Four coordinates of one correlation add up. Five seeds were off by at most 0.15 of 2.04 nats, and by 0.04 of none."""
    first, second = correlated(rho, width=4)
    mine = Mine(hidden=(64, 64), rate=1e-3, steps=600, batch=256)
    found = mine(first, second, rng=np.random.default_rng(0), device=CPU)
    assert found.value == pytest.approx(4 * gaussian(rho), rel=0.1, abs=0.06)
    assert (found.slices, found.n) == (0, ROWS)
    assert math.isnan(found.stderr)


def test_mine_finds_more_in_identity_than_in_strong_correlation() -> None:
    """The true value is infinite; the bound cannot pass the logarithm of the pairs."""
    first = correlated(0.0)[0]
    found = Mine(hidden=(64, 64), rate=1e-3, steps=600, batch=256)(first, first, rng=np.random.default_rng(0), device=CPU)
    assert gaussian(0.95) < found.value < math.log(ROWS)


@pytest.mark.parametrize("name", FAST)
def test_one_seed_gives_one_answer_and_torch_is_left_alone(name: str) -> None:
    first, second = correlated(0.5, rows=200, width=3)
    before = torch.get_rng_state()
    a, b = (FAST[name](first, second, rng=np.random.default_rng(4), device=CPU) for _ in range(2))
    assert a.value == b.value
    assert torch.equal(torch.get_rng_state(), before)
    assert a.settings["slices" if name != "mine" else "steps"] == (FAST[name].slices if name != "mine" else 20)  # type: ignore[attr-defined]


def test_every_estimator_is_listed_with_its_own_defaults() -> None:
    assert {"histogram": Histogram(), "knn": Knn(), "kde": Kde(), "mine": Mine()} == ESTIMATORS
    assert all(isinstance(made, Estimator) for made in ESTIMATORS.values())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", FAST)
def test_features_that_cannot_be_measured_are_one_clear_line(name: str) -> None:
    first, second = correlated(0.5, rows=50, width=3)
    bad = first.copy()
    bad[3, 1] = np.nan
    wrong = [
        (first[:40], second, "40 rows of features are paired with 50; give the same images in one order to both"),
        (first[:19], second[:19], "cannot be estimated from 19 pairs; give 20 or more"),
        (bad, second, "1 of 50 rows of the first features are not finite; the network that gave them diverged"),
        (first, bad, "1 of 50 rows of the second features are not finite"),
    ]
    for one, other, phrase in wrong:
        with pytest.raises(ValueError, match=phrase) as told:
            FAST[name](one, other, rng=np.random.default_rng(0), device=CPU)
        assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match="1 slices have no spread; ask for 2 or more"):
        Histogram(slices=1)(first, second, rng=np.random.default_rng(0), device=CPU)


@pytest.mark.parametrize("width", [3, 40])
def test_groups_are_measured_as_by_hand(width: int) -> None:
    """With more rows than features in a group, and with fewer."""
    rng = np.random.default_rng(0)
    features, groups = rng.standard_normal((60, width)).astype(np.float32) + 0.5, rng.integers(3, size=60)
    groups[0] = 9  # alone: no covariance, and no pair
    found = groupwise(features, groups)
    cov = [np.cov(features[groups == kind].T.astype(float), bias=True) for kind in range(3)]
    assert found.logdet == pytest.approx(np.mean([0.5 * np.linalg.slogdet(c + ETA * np.eye(width))[1] for c in cov]), rel=1e-6)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    same: dict[bool, list[float]] = {True: [], False: []}
    for a, b in combinations(range(60), 2):
        same[bool(groups[a] == groups[b])].append(float(unit[a] @ unit[b]))
    assert (found.intra, found.inter) == (pytest.approx(np.mean(same[True]), abs=1e-6), pytest.approx(np.mean(same[False]), abs=1e-6))


def test_tighter_groups_have_less_volume_and_larger_cosines() -> None:
    rng = np.random.default_rng(0)
    centers, groups = rng.standard_normal((4, 8)), np.arange(400) % 4
    loose, tight = (groupwise((centers[groups] + s * rng.standard_normal((400, 8))).astype(np.float32), groups) for s in (0.5, 0.1))
    assert tight.logdet < loose.logdet
    assert tight.intra > loose.intra > loose.inter


def test_groups_that_have_no_pairs_say_so() -> None:
    found = groupwise(np.eye(4, dtype=np.float32), np.arange(4))
    assert math.isnan(found.logdet)
    assert math.isnan(found.intra)
    assert found.inter == 0
    with pytest.raises(ValueError, match="features of 4 rows hold values that are not finite"):
        groupwise(np.full((4, 2), np.inf, np.float32), np.arange(4))
