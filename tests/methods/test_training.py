"""Methods that train their own network: the papers' constants and schedules, which rows meet, and what each variant is made of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from laws.method_worlds import AIM, BUDGET, GROUPS, World, surrogate

from ray_ue.loop import Workers
from ray_ue.methods import METHODS, Method, View, build
from ray_ue.methods._shared import source_model
from ray_ue.methods._shared.sampler import PARTNERS, Sampler, _shuffled, largest_batch
from ray_ue.methods.em import EM
from ray_ue.methods.gue import GUE
from ray_ue.methods.mi_ue import MIUE
from ray_ue.methods.rem import REM, SEM
from ray_ue.methods.tap import TAP
from ray_ue.methods.tue import TUE, dispersion

TINY = MIUE(epochs=2, batch=16, poison_batch=16, steps=2, step=1, network="mlp2", learning_rate=0.01)


def world(where: Path, *, rows: int = 48) -> World:
    return World(name="mi-ue", per="image", home=where, rows=rows)


def states(method: Method, view: View) -> list[dict[str, torch.Tensor]]:
    return [step.state() for step in method.craft(view, budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={})]


@pytest.mark.parametrize(
    ("rows", "pools", "most"), [(60, 1, 60), (1023, 1, 1023), (1024, 1, 512), (2500, 1, 625), (4100, 2, 513), (5119, 2, 640)]
)
def test_the_largest_batch_is_known_before(rows: int, pools: int, most: int) -> None:
    """A pool of 1,023 is one batch, since none may be smaller than 512; 2,500 are four of 625."""
    assert largest_batch(rows, pools=pools, batch=512) == most


def test_the_papers_step_stays_and_the_codes_doubles() -> None:
    """alpha_e = 0.4 + (100 - e + 1) / 100 (0.2 - 0.4) levels: 0.2 in epoch 1, 0.398 in epoch 100."""
    assert [MIUE().level(epoch) for epoch in (1, 50, 100)] == [0.2, 0.2, 0.2]
    code = MIUE(ramp="code")
    assert code.level(1) == pytest.approx(0.2)
    assert code.level(100) == pytest.approx(0.398)


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        (MIUE(), 1100),  # 100 epochs of one training pass and ten steps
        (MIUE(draws=5), 5100),  # each step under five crops
        (EM(), 60 * 20 + 60 * 10 * 512 / 50_000),
        (TAP(), 290),
        (REM(), 5000 * 128 / 50_000 * (10 * 5 * 11 + 11) + 550),
        (SEM(), 5000 * 128 / 50_000 * (10 * 5 + 11) + 50),
        (TUE(), 2 * (40 + 196 * 20)),
    ],
)
def test_the_cost_in_passes_over_cifar(method: Method, passes: float) -> None:
    assert method.passes(50_000) / 50_000 == pytest.approx(passes, rel=1e-3)


@pytest.mark.parametrize("method", [replace(TINY, network="mobilenet_v2"), GUE(epochs=2, batch=16, inner=1, network="mobilenet_v2")])
def test_what_a_network_drops_out_is_a_function_of_the_seed_also_after_a_kill(method: Method, tmp_path: Path) -> None:
    view, found = world(tmp_path).view("a"), []
    for number in range(2):
        torch.manual_seed(number)
        found.append(states(method, view))
    torch.manual_seed(5)
    again = list(method.craft(view, budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume=found[0][0]))
    for other in (found[1][-1], again[-1].state()):
        assert all(torch.equal(value, other[name]) for name, value in found[0][-1].items())


def test_a_batch_lies_in_one_pool_and_every_row_is_in_one_batch(tmp_path: Path) -> None:
    view = world(tmp_path).view("a")
    batches = Sampler(view=view, workers=Workers(), seed=0)
    pooled = batches.pooled(3, batch=4)
    assert sorted(row for several in pooled.values() for rows in several for row in rows.tolist()) == list(range(48))
    assert all((view.deltas.pool_of[rows] == pool).all() for pool, several in pooled.items() for rows in several)
    assert min(len(rows) for several in pooled.values() for rows in several) >= 4, "never thinned"
    assert max(len(rows) for several in pooled.values() for rows in several) == largest_batch(48, pools=view.deltas.pools, batch=4)
    again, later = batches.pooled(3, batch=4), batches.pooled(4, batch=4)
    assert (pooled[0][0] == again[0][0]).all()
    assert (np.concatenate(pooled[0]) != np.concatenate(later[0])).any()


def test_gathered_batches_mix_pools_and_hold_every_row_once(tmp_path: Path) -> None:
    view = world(tmp_path).view("a")
    (gathered,) = Sampler(view=view, workers=Workers(), seed=0).gathered(3, batch=8).values()
    assert sorted(np.concatenate(gathered).tolist()) == list(range(48))
    assert all(len(set(view.deltas.pool_of[rows].tolist())) > 1 for rows in gathered)


def test_many_groups_come_in_bunches_so_that_rows_have_partners(tmp_path: Path) -> None:
    """With 64 groups a batch of 64 would hold one row of each: every row would only be pushed away."""
    view = world(tmp_path, rows=1024).view("a")
    told = (np.arange(1024) // 4 % 64).astype(np.int32)
    many = replace(view, group_of=told, groups=64, centers=np.zeros((64, 6), np.float32), deltas=replace(view.deltas, pools=1))
    (pooled,) = Sampler(view=many, workers=Workers(), seed=0).pooled(0, batch=64).values()
    partners = [np.bincount(told[rows], minlength=64)[told[rows]] for rows in pooled]
    assert np.concatenate(partners).mean() > PARTNERS - 1
    assert sorted(np.concatenate(pooled).tolist()) == list(range(1024))
    assert len({frozenset(told[rows].tolist()) for rows in pooled}) == len(pooled), "and other groups meet in every batch"


def test_several_groupings_have_a_head_each(tmp_path: Path) -> None:
    view = world(tmp_path).view("a")
    both = replace(view, also=((np.arange(48) % 7).astype(np.int32),))
    last = states(TINY, both)[-1]
    assert last["net.heads.0.weight"].shape[0] == GROUPS
    assert last["net.heads.1.weight"].shape[0] == 7
    alone = states(TINY, world(tmp_path).view("b"))[-1]
    assert not torch.equal(last["net.body.1.weight"], alone["net.body.1.weight"])


def test_against_a_frozen_surrogate_no_network_is_trained_and_the_loss_falls(tmp_path: Path) -> None:
    method = replace(TINY, source="frozen", epochs=6)
    assert method.uses_surrogate
    assert not method.source_arch
    view = replace(world(tmp_path).view("a"), surrogate=surrogate())
    steps = list(method.craft(view, budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={}))
    assert not [name for name in steps[-1].state() if name.startswith("net.")]
    losses = np.array([step.loss for step in steps]).reshape(6, -1).mean(1)  # of the epochs
    assert losses[-1] < losses[0]


def test_with_draws_a_perturbation_moves_with_its_image_and_without_them_it_stays(tmp_path: Path) -> None:
    """The paper's command mirrors the image alone; its option under random crops moves both, as a victim's crops do."""
    batches = Sampler(view=world(tmp_path).view("a"), workers=Workers(), seed=0)
    rows = np.arange(48)
    images, delta = batches.images(rows), torch.zeros((48, 3, 8, 8))
    delta[..., :4] = 0.1  # the left half
    for method in (replace(TINY, flips=1.0), replace(TINY, flips=1.0, draws=1)):
        shown = []
        for by in (0, 1):
            draws = batches.pool_rng(1, rows=rows)
            shown.append(method.cropped(method.mirrored(images, draws) + by * delta, draws))
        left = (shown[1] - shown[0])[..., 0].mean()
        assert float(left) == pytest.approx(0.0 if method.draws else 0.1, abs=1e-6)
    assert not torch.equal(shown[0], images.flip(-1)), "and is cropped"


def test_error_minimisation_ends_when_the_network_errs_no_more(tmp_path: Path) -> None:
    method = EM(rounds=50, batches_per_round=5, batch=48, steps=3, step=2, network="mlp2", learning_rate=0.05, error=0.1)
    steps = list(method.craft(world(tmp_path).view("a"), budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={}))
    assert len(steps) < 50 * 8  # five batches and three lists of rows a round
    assert steps[-1].step == steps[-1].steps == 50 * 8
    assert not list(method.craft(world(tmp_path).view("a"), budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume=steps[-1].state()))


def test_the_dispersion_is_small_when_noises_tell_groups_apart() -> None:
    """Two groups at distance 4, each noise at distance 1 from its centre: (1 + 1) / 4."""
    deltas = torch.zeros((4, 3, 1, 1))
    deltas[:, 0, 0, 0] = torch.tensor([-1.0, 1, 3, 5])
    assert float(dispersion(deltas, np.array([0, 0, 2, 2]))) == pytest.approx(0.5, rel=1e-3)
    assert float(dispersion(deltas, np.array([0, 2, 0, 2]))) > 1


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mi-ue", "epoch=3", "did you mean 'epochs'"),
        ("mi-ue", "epochs", "write NAME=VALUE"),
        ("mi-ue", "itself=true", "did you mean 'self_pair'"),
        ("mi-ue", "epochs=three", "'three' is no int; the default is 100"),
        ("mi-ue", "self_pair=no", "write true or false"),
        ("mi-ue", "network=resnet8", "did you mean 'resnet18'"),
        ("mi-ue", "ramp=up", "there are code, paper"),
        ("mi-ue", "source=clip", "there are frozen, scratch"),
        ("mi-ue", "tau=0", "above zero"),
        ("mi-ue", "draws=-1", "draws from 0 up"),
        ("em", "error=1", "an error below 1"),
        ("tap", "steps=0", "above zero"),
        ("rem", "inner=none", "there are pgd, uniform"),
        ("tue", "ssl=0,csd=0", "some weight"),
        ("ops", "epochs=3", r"ops has the settings \(none\)"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name: str, settings: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, {"settings": settings})


def test_flags_reach_the_methods_that_have_them_and_settings_win() -> None:
    assert build("mi-ue", {"steps": 3, "batch": 0, "settings": "zeta=0, self_pair=false"}) == MIUE(steps=3, zeta=0.0, self_pair=False)
    assert build("tap", {"steps": 3, "settings": "steps=5"}) == TAP(steps=5)
    with pytest.raises(ValueError, match=r"--learning-rate is no setting of lsp; it has"):
        build("lsp", {"learning_rate": 0.1})
    assert set(METHODS) >= {"uc", "mi-ue", "em", "tap", "rem", "sem", "tue", "gue", "lsp", "ar", "ops", "cuda", "concept", "given", "noise"}


@pytest.mark.parametrize(
    "method", [EM(rounds=2, batch=16, steps=2, network="mlp2"), TINY, TUE(epochs=1, batch=16, steps=2, network="mlp2")]
)
def test_shared_perturbations_are_seen_cut_off_as_they_are_published(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dark = replace(World(name="mi-ue", per="group", home=tmp_path, rows=48).view("a"), pixels=np.zeros((48, 8, 8, 3), np.uint8))
    seen: list[float] = []
    watched = source_model.normalise

    def watch(images: torch.Tensor) -> torch.Tensor:
        seen.append(float(images.detach().min()))
        return watched(images)

    monkeypatch.setattr(source_model, "normalise", watch)
    states(method, dark)
    assert min(seen) >= 0


def test_a_round_too_small_to_be_stored_is_refused(tmp_path: Path) -> None:
    method = replace(TINY, steps=1, step=0.02)
    with pytest.raises(
        ValueError, match=r"1 steps of 0.02 levels move a delta by 0.02 levels a round, less than .*take more or larger steps"
    ):
        states(method, world(tmp_path).view("a"))


def test_the_rows_of_an_epoch_are_shuffled_once_for_all_its_batches() -> None:
    assert _shuffled(0, 3, 40) is _shuffled(0, 3, 40)
    assert not np.array_equal(_shuffled(0, 3, 40), _shuffled(0, 4, 40))
