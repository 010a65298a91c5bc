"""UC: the authors' constants, the budget, and laws about resuming, workers and which rows train which slot."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from shared_work import sums
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from ray_ue.images.processing import draw_processes, process
from ray_ue.loop import Step, Workers, generator
from ray_ue.methods import View, by_group
from ray_ue.methods._shared.uc_parameterization import PARAMETERIZATIONS
from ray_ue.methods.uc import AUGMENT_ORDERS, SCOPES, UC
from ray_ue.models import uc_generator
from ray_ue.models.normalization import floats
from ray_ue.models.pretrained.surrogates import Surrogate
from ray_ue.objectives.anchor import LOSSES
from ray_ue.perturbations import Additive
from ray_ue.perturbations.budget import Budget

BUDGET = Budget(levels=16)
SLOTS = 3
AIM = np.array([1, 2, 0])
QUICK = UC(steps=4, batch=12, learning_rate=0.1)
SMOOTH = replace(QUICK, parameterization="smooth4")
FAITHFUL = replace(QUICK, parameterization="generator", learning_rate=1e-4, data_scope="all", augment="before", steps=2)


def surrogate(canvas: int = 16, size: int = 16) -> Surrogate:
    rng = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    for value in net.parameters():
        value.data = 0.3 * torch.randn(value.shape, generator=rng)
    one = torch.full((1, 3, 1, 1), 0.5)
    return Surrogate(name="toy", net=net.eval().requires_grad_(False), mean=one, std=one, size=size, canvas=canvas, width=32)


def view(rows: int = 30, slots: int = SLOTS, canvas: int = 16, size: int = 16) -> View:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (rows, canvas, canvas, 3), dtype=np.uint8)
    centers = rng.standard_normal((slots, 32)).astype(np.float32)
    told = (np.arange(rows) % slots).astype(np.int32)
    return by_group(pixels, group_of=told, centers=centers, surrogate=surrogate(canvas, size), budget=BUDGET)


def run(method: UC, *, seed: int = 0, workers: Workers = Workers(), resume: dict[str, Tensor] | None = None, stop: int = 999) -> Step:  # noqa: B008
    last = None
    for last in method.craft(view(), budget=BUDGET, aim=AIM, seed=seed, workers=workers, resume=resume or {}):
        if last.step == stop:
            break
    assert last is not None
    return last


def bank(method: UC, step: Step) -> np.ndarray:
    made = method.poison(step.state(), deltas=view().deltas, budget=BUDGET)
    assert isinstance(made, Additive)
    return made.bank


def test_the_generator_is_the_papers() -> None:
    assert uc_generator.size() == 7_841_411
    assert uc_generator.weights(generator(0)).shape == (7_841_411,)


def test_a_fresh_generator_already_leaves_the_budget_at_most_pixels() -> None:
    made = uc_generator.generate(uc_generator.weights(generator(0)), torch.rand((3, 64, 64), generator=generator(1)))
    assert 0.7 < (made.abs() > BUDGET.radius).float().mean() < 0.97


def test_the_rate_falls_to_a_hundredth() -> None:
    method = replace(FAITHFUL, steps=750)
    rates = [method.rate(step) for step in range(751)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[-1] == pytest.approx(1e-6)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("place", AUGMENT_ORDERS)
@pytest.mark.parametrize("scope", SCOPES)
def test_the_loss_falls_within_the_budget(loss: str, place: str, scope: str) -> None:
    method = replace(QUICK, steps=25, batch=30, learning_rate=0.3, loss=loss, augment=place, data_scope=scope)
    losses = [step.loss for step in method.craft(view(), budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={})]
    assert np.mean(losses[-5:]) < 0.98 * np.mean(losses[:3])
    made = bank(method, run(method))
    assert made.dtype == np.int8
    assert made.shape == (SLOTS, 3, 16, 16)
    assert 8 < np.abs(made.astype(int)).max() <= 16


@pytest.mark.parametrize(
    "method",
    [QUICK, replace(QUICK, augment="before", data_scope="all"), FAITHFUL, replace(QUICK, through="none+rrc+flip+jpeg+gray+blur"), SMOOTH],
    ids=["pixels", "before", "generator", "through", "smooth"],
)
def test_resuming_gives_the_same_bits(method: UC) -> None:
    straight = run(method)
    resumed = run(method, resume=run(method, stop=method.steps // 2).state())
    assert (straight.step, straight.images, straight.loss) == (resumed.step, resumed.images, resumed.loss)
    assert all(torch.equal(value, resumed.state()[name]) for name, value in straight.state().items())


EVERY = replace(QUICK, through="none+rrc+flip+jpeg+gray+blur", batch=30)


def test_processes_are_a_function_of_the_seed() -> None:
    one, same, other = (bank(EVERY, run(EVERY, seed=seed)) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    assert (one != bank(replace(EVERY, through="none"), run(replace(EVERY, through="none"), seed=1))).any()


def test_without_processes_nothing_has_a_new_name() -> None:
    assert "through" not in UC().identity()
    assert UC(through="jpeg").identity() == UC().identity() | {"through": "jpeg"}


def parts(side: int = 32) -> tuple[View, Callable[[np.ndarray, str], float]]:
    """96 parts of two real photographs, a group for each photograph, and the loss of a bank on what a process makes of them."""
    photos = [np.asarray(Image.fromarray(photo).resize((320, 213))) for photo in load_sample_images().images]
    pixels = np.stack([photo[y : y + side, x : x + side] for photo in photos for y in range(0, 181, 36) for x in range(0, 288, 36)])
    group_of, net = (np.arange(len(pixels)) * 2 // len(pixels)).astype(np.int32), surrogate(side, side)
    images = floats(pixels, device=torch.device("cpu"))
    features = net.features(images)
    centers = torch.stack([features[group_of == group].mean(0) for group in (0, 1)])

    def loss(made: np.ndarray, name: str) -> float:
        draws = draw_processes(len(pixels), names=(name,), rng=np.random.default_rng(9))
        shown = process((images + torch.from_numpy(made[group_of]).float() / 255).clamp(0, 1), draws)
        return float(LOSSES["kl"](net.features(shown), centers[1 - group_of]).mean())

    return by_group(pixels, group_of=group_of, centers=centers.numpy(), surrogate=net, budget=BUDGET), loss


@pytest.mark.parametrize(("name", "gain"), [("jpeg", 0.015), ("gray", 0.02), ("blur", 0.02), ("rrc", 0.02)])
def test_what_is_crafted_through_a_process_lasts_through_it(name: str, gain: float) -> None:
    seen, loss = parts()
    banks = {}
    for through in ("none", name):
        method = UC(steps=60, batch=24, learning_rate=0.3, through=through)
        *_, last = method.craft(seen, budget=BUDGET, aim=np.array([1, 0]), seed=0, workers=Workers(), resume={})
        banks[through] = bank(method, last)
    assert loss(banks[name], name) < loss(banks["none"], name) - gain
    assert loss(banks["none"], name) < loss(0 * banks["none"], name)


def test_a_finished_generator_shows_what_the_crafting_device_showed() -> None:
    """Another device would round its convolutions otherwise, and a hard clamp makes much of little."""
    state = run(FAITHFUL).state()
    others = {name: 0 * value if name not in ("rendered", "step", "images") else value for name, value in state.items()}
    shown = [FAITHFUL.poison(given, deltas=view().deltas, budget=BUDGET) for given in (state, others)]
    assert all(isinstance(poison, Additive) for poison in shown)
    assert (shown[0].bank == BUDGET.quantise(state["rendered"].numpy())).all()  # type: ignore[union-attr]
    assert (shown[0].bank == shown[1].bank).all()  # type: ignore[union-attr]


def test_state_is_a_copy_and_resuming_leaves_it_alone() -> None:
    state = run(QUICK, stop=2).state()
    before = {name: value.clone() for name, value in state.items()}
    run(QUICK, resume=state)
    assert all(torch.equal(value, state[name]) for name, value in before.items())


def share(method: UC, world: int) -> list[np.ndarray]:
    """The banks of `world` workers."""
    banks, totals = [np.zeros(0)] * world, sums(world)

    def work(rank: int) -> None:
        banks[rank] = bank(method, run(method, workers=Workers(rank=rank, world=world, all_reduce=totals[rank])))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return banks


@pytest.mark.parametrize("world", [2, 3, 5, 13])
def test_any_number_of_workers_makes_the_same_bank(world: int) -> None:
    """Up to one level: sums in another order differ in the last bits, which Adam's first steps and rounding enlarge."""
    alone = bank(QUICK, run(QUICK)).astype(int)
    for made in share(QUICK, world):
        assert np.abs(made - alone).max() <= 1
        assert (made != alone).mean() < 0.01


def test_generator_gradients_of_two_workers_sum_to_those_of_one() -> None:
    def sums(rank: int, world: int) -> list[Tensor]:
        seen: list[Tensor] = []

        def total(value: Tensor) -> Tensor:
            seen.append(value.clone())
            return value

        run(replace(FAITHFUL, steps=1), workers=Workers(rank=rank, world=world, all_reduce=total))
        return seen

    for whole, first, second in zip(sums(0, 1), sums(0, 2), sums(1, 2), strict=True):
        assert torch.allclose(first + second, whole, rtol=1e-3, atol=1e-4 * float(whole.abs().max()))


def test_the_latent_never_moves() -> None:
    start = PARAMETERIZATIONS["generator"].start(SLOTS, side=16, seed=0)
    assert torch.equal(run(FAITHFUL, stop=1).state()["latent"], start["latent"])


def test_own_rows_and_all_rows() -> None:
    slot_of = np.array([2, 0, 0, 2, 2], np.int32)
    own = SCOPES["own"](slot_of, 4)
    assert [part.tolist() for part in own[::2]] == [[1, 2], [0, 3, 4]]
    assert sorted(own[1]) == sorted(own[3]) == [0, 1, 2, 3, 4], "a slot without rows borrows all"
    assert [sorted(part) for part in SCOPES["all"](slot_of, 4)] == [[0, 1, 2, 3, 4]] * 4


def test_every_slot_gets_its_turn_when_a_batch_is_too_small_for_all() -> None:
    data, method = view(rows=60, slots=20), replace(QUICK, steps=10, batch=10)
    *_, last = method.craft(data, budget=BUDGET, aim=np.roll(np.arange(20), -1), seed=0, workers=Workers(), resume={})
    assert last.state()["count"].tolist() == [1.0] * 20


def test_image_passes_do_not_depend_on_the_collection() -> None:
    assert run(QUICK).images == 4 * 12


@pytest.mark.parametrize(("place", "side"), [("before", 16), ("after", 20)])
def test_the_bank_is_as_large_as_what_the_delta_is_added_to(place: str, side: int) -> None:
    method = replace(QUICK, augment=place, steps=1)
    *_, last = method.craft(view(canvas=20, size=16), budget=BUDGET, aim=AIM, seed=0, workers=Workers(), resume={})
    assert bank(method, last).shape == (SLOTS, 3, side, side)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_paints_stay_in_budget_and_differ_by_slot(name: str) -> None:
    start = PARAMETERIZATIONS[name].start(2, side=16, seed=0)
    deltas = PARAMETERIZATIONS[name].render(start["params"], start["latent"], budget=BUDGET)
    assert deltas.abs().max() <= BUDGET.radius + 1e-7
    assert not torch.equal(deltas[0], deltas[1])


def test_one_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="there is only 1; cluster with k of 2 or more"):
        next(QUICK.craft(view(slots=1), budget=BUDGET, aim=np.array([0]), seed=0, workers=Workers(), resume={}))


def test_an_aim_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="group 2 aims at its own center"):
        next(QUICK.craft(view(), budget=BUDGET, aim=np.array([1, 0, 2]), seed=0, workers=Workers(), resume={}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "kld"}, "no loss is called 'kld'; did you mean 'kl'\\? there are cosine, kl, l2"),
        ({"data_scope": "mine"}, "there are all, own"),
        ({"parameterization": "unet"}, "there are generator, pixels, smooth16, smooth4, smooth8"),
        ({"augment": "never"}, "there are after, before"),
        ({"through": "jpeg+grey"}, "no process is called 'grey'; did you mean 'gray'"),
        ({"steps": 0}, "above zero, got 0"),
    ],
)
def test_values_that_mean_nothing_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(QUICK, **change)


def test_a_side_that_the_generator_cannot_paint_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4, got 18"):
        PARAMETERIZATIONS["generator"].start(1, side=18, seed=0)


def test_numbers_that_do_not_fit_into_the_side_are_refused() -> None:
    with pytest.raises(ValueError, match="16 x 16 numbers do not fit into 12 pixels; use a larger image size"):
        PARAMETERIZATIONS["smooth16"].start(1, side=12, seed=0)


def test_a_smooth_delta_is_its_numbers_interpolated() -> None:
    smooth = PARAMETERIZATIONS["smooth4"]
    params, latent = torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(0)), torch.zeros((2, 24, 0))
    expected = F.interpolate(BUDGET.radius * params.tanh(), (24, 24), mode="bicubic").clamp(-BUDGET.radius, BUDGET.radius)
    torch.testing.assert_close(smooth.render(params, latent, budget=BUDGET), expected)


def test_a_view_must_match_its_surrogate() -> None:
    with pytest.raises(ValueError, match="do not fill toy's canvas of 20"):
        replace(view(), surrogate=surrogate(canvas=20))
    with pytest.raises(ValueError, match="group 2 has no center"):
        replace(view(), centers=view().centers[:2])
