"""The number format is chosen by what a card computes in and by what is asked of it. Needs no card."""

import pytest
import torch

import ray_ue.models.precision
from ray_ue.models.precision import autocast, precision, precision_on


@pytest.mark.parametrize(
    ("card", "capability", "without", "slopes"),
    [
        ("H100", (9, 0), torch.bfloat16, torch.bfloat16),
        ("A100", (8, 0), torch.bfloat16, torch.bfloat16),
        ("T4", (7, 5), torch.float16, torch.float32),
        ("V100", (7, 0), torch.float16, torch.float32),
        ("P100", (6, 0), torch.float32, torch.float32),
    ],
)
def test_bf16_where_the_card_has_it_and_fp16_only_without_slopes(
    card: str, capability: tuple[int, int], without: torch.dtype, slopes: torch.dtype
) -> None:
    assert precision(capability, slopes=False) == without
    assert precision(capability, slopes=True) == slopes


def test_a_card_is_asked_for_what_it_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert precision_on(torch.device("cuda")) == torch.float32
    with torch.no_grad():
        assert precision_on(torch.device("cuda")) == torch.float16


@pytest.mark.parametrize(
    ("has", "asked", "dtype"), [(True, True, torch.bfloat16), (True, False, torch.float32), (False, True, torch.float32)]
)
def test_a_cpu_computes_in_bf16_where_that_is_asked_and_it_multiplies_it(
    has: bool, asked: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_ue.models.precision, "multiplies_bf16", lambda: has)
    with autocast(torch.device("cpu"), cpu=asked):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize(
    ("name", "multiplies"), [("_is_amx_tile_supported", True), ("_is_avx512_bf16_supported", True), ("_is_avx512_supported", False)]
)
def test_a_cpu_multiplies_bf16_by_tiles_or_by_avx512(name: str, multiplies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ("_is_amx_tile_supported", "_is_avx512_bf16_supported", "_is_avx512_supported"):
        monkeypatch.setattr(torch.cpu, asked, lambda asked=asked: asked == name, raising=False)
    assert ray_ue.models.precision.multiplies_bf16.__wrapped__() == multiplies
