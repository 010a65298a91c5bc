"""What a plan knows of a method's memory."""

import pytest

from ray_ue.methods import build
from ray_ue.perturbations.delta_table import pools_for
from ray_ue.pipelines.pace import FLOAT_PIXEL, waiting_bytes


@pytest.mark.parametrize("rows", [1_000, 50_000])
def test_where_rows_share_deltas_a_batch_of_every_pool_waits_on_the_device(rows: int) -> None:
    method = build("em", {})
    most = method.peak_batch(rows, pools=pools_for(rows))  # type: ignore[attr-defined]
    assert waiting_bytes(method, "group", rows=rows, side=32) == 2 * FLOAT_PIXEL * 32**2 * min(rows, pools_for(rows) * most)


def test_deltas_of_their_own_and_patterns_wait_nowhere() -> None:
    assert waiting_bytes(build("em", {}), "image", rows=50_000, side=32) == 0
    assert waiting_bytes(build("texture", {}), "group", rows=50_000, side=32) == 0
