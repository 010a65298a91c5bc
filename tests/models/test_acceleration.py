"""Faster ways are given up in one line where they do not work, and are not used where they give other numbers. Needs no GPU."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ray_ue.config.schedules import Schedule
from ray_ue.exploiter import steps, supervised
from ray_ue.exploiter.dataset import Training
from ray_ue.exploiter.steps import can_be_recorded
from ray_ue.loop import Workers
from ray_ue.models.acceleration import EAGER, CompiledNet, RecordedStep, Work, worth_compiling
from ray_ue.models.classifiers import classifier

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def faithful(work: Work) -> Work:
    """A recorder that does the work again, in the same tensors."""
    work()  # as the one of a GPU does, to warm up
    return work


def idle(work: Work) -> Work:
    """One whose recording changes nothing."""
    result = work()
    return lambda: result


def refuses(work: Work) -> Work:
    work()
    raise RuntimeError("operation not permitted\nwhen stream is capturing")


def climbed(recorder: Callable[[Work], Work], *, shapes: tuple[int, ...] = (3,) * 8) -> tuple[list[float], Tensor, list[str]]:
    """(results, state, what was told) of a step that adds its inputs to a state."""
    state, told = torch.zeros(3), []

    def work(rows: Tensor) -> Tensor:
        state.add_(rows.sum())
        return state.sum()

    step = RecordedStep(work=work, state=lambda: [state], recorder=recorder, tell=told.append)
    return [float(step(torch.full((count,), float(i)))) for i, count in enumerate(shapes)], state, told


@pytest.mark.parametrize("shapes", [(3,) * 8, (3, 2) * 6])
def test_a_recording_gives_what_the_step_gives(shapes: tuple[int, ...]) -> None:
    results, state, told = climbed(faithful, shapes=shapes)
    expected, alone, _ = climbed(refuses, shapes=shapes)
    assert (results, told) == (expected, [])
    assert torch.equal(state, alone)


def test_a_step_that_cannot_be_recorded_is_done_as_it_is_and_told_in_one_line() -> None:
    results, _, told = climbed(refuses)
    assert results == [9.0 * sum(range(i + 1)) for i in range(8)]
    assert told == [
        "steps are not recorded (RuntimeError: operation not permitted when stream is capturing): slower, with the same results"
    ]


def test_a_recording_that_gives_other_numbers_is_not_used() -> None:
    results, _, told = climbed(idle)
    assert results == [9.0 * sum(range(i + 1)) for i in range(8)]
    assert told == ["steps are not recorded (a recorded step gave other numbers): slower, with the same results"]


def test_the_first_steps_are_not_recorded() -> None:
    made = []
    climbed(lambda work: made.append(1) or faithful(work), shapes=(3,) * EAGER)
    assert not made


def trained(monkeypatch: pytest.MonkeyPatch, *, recorded: bool) -> dict[str, Tensor]:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 16, 16, 3), dtype=np.uint8)
    training = Training(pixels=pixels, clean=pixels, labels=np.arange(50) % 3, classes=3)
    net = classifier("fast", side=16, classes=3, sample=pixels, seed=0)
    monkeypatch.setattr(steps, "can_be_recorded", lambda net, **_: recorded)
    monkeypatch.setattr(supervised, "record_on_gpu", faithful)
    schedule = Schedule(epochs=3, batch=15, lr=0.1, decay=5e-4, nesterov=True, warm=0.2, smoothing=0.1, norm_rate=16)
    start = {"size": 16, "flips": 0.5, "seed": 0, "device": CPU, "workers": Workers(), "resume": {}}
    for _ in supervised.train(training, net=net, schedule=schedule, tell=pytest.fail, **start):
        pass
    return net.state_dict()


def test_a_victim_of_recorded_steps_is_the_same_victim(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, recorded = (trained(monkeypatch, recorded=recorded) for recorded in (False, True))
    for name, value in plain.items():
        torch.testing.assert_close(recorded[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("net", "device", "world", "altered", "expected"),
    [
        (nn.Linear(2, 2), GPU, 1, False, True),
        (nn.Linear(2, 2), CPU, 1, False, False),
        (nn.Linear(2, 2), GPU, 2, False, False),
        (nn.Linear(2, 2), GPU, 1, True, False),
        (nn.Dropout(0.5), GPU, 1, False, False),
        (nn.Dropout(0.0), GPU, 1, False, True),
    ],
)
def test_only_steps_that_are_always_the_same_operations_are_recorded(
    net: nn.Module, device: torch.device, world: int, altered: bool, expected: bool
) -> None:
    assert can_be_recorded(net, workers=Workers(world=world), device=device, altered=altered) is expected


def test_a_network_that_cannot_be_compiled_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(images: Tensor) -> Tensor:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable.")

    told: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda net: fails)
    net = nn.Linear(2, 2)
    run = CompiledNet(net=net, tell=told.append)
    images = torch.ones(1, 2)
    assert torch.equal(run(images), net(images))
    assert torch.equal(run(images), net(images))
    assert told == [
        "not compiled (RuntimeError: Failed to find C compiler. Please specify via CC environment variable.): slower, with the same results"
    ]


@pytest.mark.parametrize(
    ("images", "device", "world", "expected"),
    [(2_000_000, GPU, 1, True), (1_999_999, GPU, 1, False), (10**9, CPU, 1, False), (10**9, GPU, 2, False)],
)
def test_only_long_work_of_one_worker_is_compiled(images: int, device: torch.device, world: int, expected: bool) -> None:
    assert worth_compiling(images, device=device, world=world) is expected


def test_a_network_that_compiles_forward_alone_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, value: Tensor) -> Tensor:
            return value * 2

        @staticmethod
        def backward(ctx: object, *slopes: Tensor) -> Tensor:
            raise RuntimeError("no backward")

    told: list[str] = []
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    monkeypatch.setattr(torch, "compile", lambda net: lambda images: Half.apply(net(images)))
    run, images = CompiledNet(net=net, tell=told.append), torch.rand(4, 2)
    run(images).sum().backward()
    assert told == ["not compiled (RuntimeError: no backward): slower, with the same results"]
    assert int(net[1].num_batches_tracked) == 1  # type: ignore[arg-type]


def test_another_size_or_mode_that_cannot_be_compiled_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def moody(net: nn.Module) -> object:
        def run(images: Tensor) -> Tensor:
            if len(images) == 3 or not net.training:
                raise RuntimeError("again")
            return net(images)

        return run

    monkeypatch.setattr(torch, "compile", moody)
    for other in (torch.ones(3, 2), torch.ones(4, 2)):
        told: list[str] = []
        net = nn.Linear(2, 2)
        run = CompiledNet(net=net, tell=told.append)
        run(torch.ones(4, 2))
        net.train(len(other) == 3)
        assert torch.equal(run(other), net(other))
        assert len(told) == 1


def test_running_out_of_memory_is_no_reason_to_try_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda net: fails)
    with pytest.raises(torch.OutOfMemoryError):
        CompiledNet(net=nn.Linear(2, 2), tell=print)(torch.ones(1, 2))
