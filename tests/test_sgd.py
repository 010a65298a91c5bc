"""The victim loop: it learns, it is a function of its seed, it resumes to the bit, and equal workers end with equal nets."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ray_ue import sgd
from ray_ue.nets.classifiers import classifier
from ray_ue.nets.small import BACKBONES, backbone
from ray_ue.schedules import SCHEDULES, Schedule
from ray_ue.sgd import Diverged, Epoch
from ray_ue.steps import Workers, alone
from ray_ue.training import Images, Moment, Targets, Training

CPU = torch.device("cpu")
QUICK = Schedule(epochs=4, batch=32, lr=0.05, decay=5e-4, nesterov=True, warm=0.2, smoothing=0.1)


def stripes(count: int, *, seed: int, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that any victim can tell apart: dark tops and dark bottoms, under noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    pixels = rng.integers(90, 160, (count, side, side, 3))
    half = side // 2
    for row, label in enumerate(labels):
        pixels[row, half * label : half * label + half] -= 60
    return pixels.astype(np.uint8), labels


def striped(count: int = 128, *, held: int = 0, side: int = 16) -> Training:
    pixels, labels = stripes(count, seed=0, side=side)
    found = Training(pixels=pixels, clean=pixels, labels=labels, classes=2)
    return replace(found, holdout=stripes(held, seed=2, side=side)) if held else found


def tiny(seed: int) -> nn.Module:
    """A net with all that a state must hold: convolution, batch norm and a head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = (nn.Conv2d(3, 8, 4, stride=4, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 2))


def run(
    training: Training,
    *,
    seed: int = 0,
    schedule: Schedule = QUICK,
    net: nn.Module | None = None,
    stop: int = 99,
    resume: dict[str, Tensor] | None = None,
    workers: Workers | None = None,
    size: int = 16,
) -> tuple[list[Epoch], nn.Module, dict[str, Tensor]]:
    """(epochs, the net, the state after the last of them)."""
    net = net or tiny(seed)
    history, state = [], {}
    for epoch in sgd.train(
        training, net=net, schedule=schedule, size=size, flips=0.0, seed=seed, device=CPU, workers=workers or Workers(), resume=resume or {}
    ):
        history.append(epoch)
        state = epoch.state()
        if epoch.epoch == stop:
            break
    return history, net, state


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_victim_learns_what_can_be_learnt() -> None:
    history, net, _ = run(striped())
    assert [(entry.epoch, entry.epochs, entry.images) for entry in history] == [(n, 4, n * 128) for n in (1, 2, 3, 4)]
    assert history[-1].loss < history[0].loss
    assert sgd.accuracy(net, *stripes(64, seed=1), size=16) > 0.9


def test_a_canvas_larger_than_the_net_is_cropped_at_random_and_measured_in_its_middle() -> None:
    history, net, _ = run(striped(side=20))
    assert history[-1].loss < history[0].loss
    pixels, labels = stripes(64, seed=1, side=20)
    assert sgd.accuracy(net, pixels, labels, size=16) > 0.9
    assert (sgd.predict(net, pixels, size=16) == sgd.predict(net, pixels[:, 2:18, 2:18], size=16)).all()


def test_same_seed_same_victim() -> None:
    short = replace(QUICK, epochs=1)
    one, same_again, other = (run(striped(), seed=seed, schedule=short) for seed in (3, 3, 4))
    assert same(one[1], same_again[1])
    assert one[0][0].loss == same_again[0][0].loss != other[0][0].loss


@pytest.mark.usefixtures("unchecked")
def test_labels_must_match_the_images() -> None:
    pixels, labels = stripes(8, seed=0)
    with pytest.raises(ValueError, match="8 images have 7 labels and 8 clean originals"):
        Training(pixels=pixels, clean=pixels, labels=labels[:7], classes=2)
    with pytest.raises(ValueError, match="8 images have 8 labels and 6 clean originals"):
        Training(pixels=pixels, clean=pixels[:6], labels=labels, classes=2)


@pytest.mark.parametrize("held", [0, 16])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resuming_from_any_epoch_gives_the_same_bits(held: int, stop: int) -> None:
    training = striped(96, held=held)
    calm, net, _ = run(training)
    _, _, state = run(training, stop=stop)
    history, resumed, _ = run(training, resume=state)
    assert [entry.epoch for entry in history] == list(range(stop + 1, 5))
    assert history[-1].loss == calm[-1].loss
    assert same(resumed, net)


def test_a_net_that_drops_units_is_a_function_of_its_seed_too() -> None:
    """Dropout draws from torch's global generator, which the loop seeds and puts back."""

    training = striped(64)

    def fresh() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), classifier("linear", side=16, classes=2, sample=training.pixels, seed=0))

    before = torch.random.get_rng_state()
    _, net, _ = run(training, net=fresh())
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert same(run(training, net=fresh())[1], net)
    _, _, state = run(training, net=fresh(), stop=2)
    assert same(run(training, net=fresh(), resume=state)[1], net)


def crew(count: int) -> list[Workers]:
    """`count` workers in threads of this process; each sum waits for all of them."""
    meet = threading.Barrier(count, timeout=60)
    box: dict[int, Tensor] = {}

    def total_of(rank: int) -> Callable[[Tensor], Tensor]:
        def total(value: Tensor) -> Tensor:
            box[rank] = value.clone()
            meet.wait()
            found = sum((box[other] for other in range(count)), torch.zeros_like(value))
            meet.wait()
            return found

        return total

    return [Workers(rank=rank, world=count, total=total_of(rank)) for rank in range(count)]


@pytest.mark.parametrize("rows", [128, 97])
@pytest.mark.parametrize("held", [0, 16])
def test_two_workers_end_with_one_net_that_has_learnt(rows: int, held: int) -> None:
    found: dict[int, tuple[list[Epoch], nn.Module, dict[str, Tensor]]] = {}

    nets = [tiny(0), tiny(0)]  # made here: threads share torch's generator

    def follow(workers: Workers) -> None:
        found[workers.rank] = run(striped(rows, held=held), workers=workers, net=nets[workers.rank])

    threads = [threading.Thread(target=follow, args=(workers,)) for workers in crew(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (first, net, _), (second, other, _) = found[0], found[1]
    assert [entry.loss for entry in first] == [entry.loss for entry in second]
    assert first[-1].images == 4 * rows
    assert same(net, other)
    assert sgd.accuracy(net, *stripes(64, seed=1), size=16) > 0.9


def test_a_loss_that_is_no_number_ends_the_training_with_a_hint() -> None:
    absurd = replace(QUICK, lr=1e30, warm=0.0)
    with pytest.raises(Diverged, match=r"the training loss is (nan|inf) in epoch \d; a lower --learning-rate than 1e\+30 may work"):
        run(striped(), schedule=absurd)


def test_a_hold_out_keeps_the_epoch_that_did_best_on_it() -> None:
    """Labels that mean nothing, at a large constant rate: every epoch guesses anew."""
    jumpy, luck = Schedule(epochs=6, batch=16, lr=0.4, decay=0.0, floor=0.4), np.random.default_rng(7)
    pixels = stripes(64, seed=0)[0]
    free = Training(pixels=pixels, clean=pixels, labels=luck.integers(0, 2, 64), classes=2)
    held = (stripes(40, seed=2)[0], luck.integers(0, 2, 40))
    net, seen = tiny(4), []
    for _ in sgd.train(free, net=net, schedule=jumpy, size=16, flips=0.0, seed=4, device=CPU, workers=Workers(), resume={}):
        seen.append(sgd.accuracy(net, *held, size=16))
    _, kept, _ = run(replace(free, holdout=held), seed=4, schedule=jumpy)
    assert sgd.accuracy(kept, *held, size=16) == max(seen)
    assert seen[-1] < max(seen), "the last epoch is not the best one, or this shows nothing"


def unchanged(images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
    assert 0 <= moment.done < 1
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(targets.sum(1), torch.ones(len(images)))
    return images, targets


def test_an_alter_that_changes_nothing_changes_nothing() -> None:
    training, short = striped(), replace(QUICK, epochs=2)
    assert same(run(training, schedule=short)[1], run(replace(training, alters=(unchanged,)), schedule=short)[1])


def test_alters_act_in_order_and_may_ask_for_losses() -> None:
    asked = []

    def blacken(images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
        return torch.zeros_like(images), targets

    def ask(images: Images, targets: Targets, moment: Moment) -> tuple[Images, Targets]:
        images = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(moment.loss(images, targets).sum(), images)
        asked.append((float(images.detach().max()), moment.done, slope.shape == images.shape))
        return images.detach(), targets

    training = replace(striped(64), alters=(blacken, ask))
    run(training, schedule=replace(QUICK, epochs=2))
    assert asked == [(0.0, step / 4, True) for step in range(4)]


@pytest.mark.parametrize("training", [True, False])
def test_measuring_losses_leaves_the_mode_and_the_statistics_of_the_net_alone(training: bool) -> None:
    net = tiny(0).train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images = torch.rand((4, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    found = sgd.losses(net, images, torch.eye(2)[[0, 1, 0, 1]])
    assert net.training is training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net.eval()
    both = torch.log_softmax(net((images - sgd.MEAN) / sgd.STD), 1)
    assert torch.allclose(found, -both[torch.arange(4), torch.tensor([0, 1, 0, 1])], atol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rate_climbs_to_its_top_and_falls_to_its_floor(name: str) -> None:
    schedule, steps = SCHEDULES[name], 1000
    rates = [sgd._rate(step, steps, schedule) for step in range(steps)]
    assert max(rates) == pytest.approx(schedule.lr, rel=0.01)
    assert min(rates) > 0
    assert rates[-1] == pytest.approx(schedule.floor, abs=0.001 * schedule.lr)
    top = rates.index(max(rates))
    assert top == pytest.approx(schedule.warm * steps, abs=1)
    assert sorted(rates[: top + 1]) == rates[: top + 1]
    assert sorted(rates[top:], reverse=True) == rates[top:]


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"epochs": 0}, "--epochs must be 1 or more, got 0"),
        ({"batch": -1}, "--batch must be 1 or more, got -1"),
        ({"lr": 0.0}, "--learning-rate must be above 0, got 0; 0.1 suits most victims"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(change: dict[str, float], phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        replace(QUICK, **change)  # type: ignore[arg-type]


def test_one_worker_sums_to_itself() -> None:
    value = torch.rand(3)
    assert alone(value) is value


@pytest.mark.parametrize("arch", BACKBONES)
@pytest.mark.parametrize("side", [32, 96])
def test_backbones_give_their_width_and_leave_the_global_seed_alone(arch: str, side: int) -> None:
    before = torch.random.get_rng_state()
    net = backbone(arch, image_size=side, seed=0).eval()
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.no_grad():
        assert net(torch.zeros(2, 3, side, side)).shape == (2, net.width)
    same = backbone(arch, image_size=side, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), same.state_dict().values(), strict=True))
