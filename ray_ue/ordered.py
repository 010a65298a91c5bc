"""Sums over rows that are added in one order on every device, so that the same seed gives the same bits."""

from jaxtyping import Float, Int
from torch import Tensor


def take_rows(table: Float[Tensor, "S ..."], which: Int[Tensor, " B"]) -> Float[Tensor, "B ..."]:
    """`table[which]`. Its slope adds up in the order of the rows: on a CPU threads add the slope of an index in any order, and on a GPU
    that of `index_select`."""
    return table.index_select(0, which) if table.device.type == "cpu" else table[which]


def add_rows(sums: Float[Tensor, "S ..."], which: Int[Tensor, " B"], rows: Float[Tensor, "B ..."]) -> None:
    """Add every row to the row of `sums` that `which` names, in place and in the order of the rows."""
    if sums.device.type == "cpu":
        sums.index_add_(0, which, rows)
    else:
        sums.index_put_((which,), rows, accumulate=True)
