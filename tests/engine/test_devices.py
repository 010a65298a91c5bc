"""Devices are those that Ray assigned, and threads those that a node has. Starts no Ray."""

import platform
import subprocess
import sys

import pytest
import ray
import ray.train.torch
import torch

from ray_ue.engine import devices
from ray_ue.engine.devices import assigned_device, own_threads, torch_threads
from ray_ue.engine.session import describe_node


@pytest.fixture
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch sees two GPUs, as Ray 2.60 lets it even where Ray assigned none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)


@pytest.mark.usefixtures("_two_gpus")
def test_work_without_an_assigned_gpu_runs_on_the_cpu_although_torch_sees_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    assert assigned_device() == torch.device("cpu")


@pytest.mark.usefixtures("_two_gpus")
def test_the_device_is_the_assigned_gpu_not_the_place_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [1])
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cuda", 1))
    assert assigned_device() == torch.device("cuda", 1)


def test_a_process_that_never_joined_ray_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert assigned_device() == torch.device("cpu")


def test_a_plan_for_larger_nodes_takes_no_more_threads_than_this_one_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 4)
    assert [own_threads(planned) for planned in (0, 1, 4, 32)] == [1, 1, 4, 4]


def test_threads_of_a_loop_in_the_driver_are_put_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 3):
        assert torch.get_num_threads() == before + 3
    assert torch.get_num_threads() == before


def test_a_node_elsewhere_has_the_cores_that_ray_says_and_this_one_those_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert describe_node({"CPU": 32.0, "GPU": 1.0}, own=False).cores == 32
    assert describe_node({"CPU": 32.0, "GPU": 1.0}, own=True).cores == 8


FAULTS = """
import resource, sys, torch
from ray_ue.engine.devices import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
x = torch.ones(100, 32, 32, 32, requires_grad=True)  # 13 MiB
def step():
    y = x
    for _ in range(12):
        y = torch.tanh(y)
    y.sum().backward()
    x.grad = None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
before = faults()
for _ in range(20):  # in few steps the C library settles, or happens to keep what it frees
    step()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_training_process_keeps_the_memory_that_it_frees() -> None:
    given, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("given", "kept")
    )
    assert kept < given / 4, f"{kept} page faults, {given} without"
