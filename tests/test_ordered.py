"""Rows that are taken from a table, and added to one, give the same bits however many threads there are."""

import pytest
import torch
from torch import Tensor

from ray_ue.ordered import add_rows, take_rows

ROWS, TIMES = 48, 30
ROW = (3, 64, 64)  # large enough that threads share the work


@pytest.fixture
def which() -> Tensor:
    return torch.randint(0, 3, (ROWS,), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(ROWS, *ROW, generator=torch.Generator().manual_seed(1))


def test_the_slope_of_rows_that_are_taken_has_one_order(which: Tensor, rows: Tensor) -> None:
    table = torch.randn(3, *ROW, requires_grad=True)
    taken = take_rows(table, which)
    assert torch.equal(taken, table[which])
    slopes = [torch.autograd.grad(take_rows(table, which), table, rows)[0] for _ in range(TIMES)]
    expected = torch.zeros(3, *ROW)
    for row, place in zip(rows, which.tolist(), strict=True):
        expected[place] += row
    assert all(torch.equal(slope, expected) for slope in slopes)


def test_rows_are_added_in_their_order(which: Tensor, rows: Tensor) -> None:
    sums, expected = torch.zeros(3, *ROW), torch.zeros(3, *ROW)
    add_rows(sums, which, rows)
    for row, place in zip(rows, which.tolist(), strict=True):
        expected[place] += row
    assert torch.equal(sums, expected)
