"""A lane keeps copies of pixels up to a number of bytes, those that were used last."""

from pathlib import Path

import numpy as np

from ray_ue.stages.evaluate.blocks import Blocks

VIEWS = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
HALF = np.arange(5)
BYTES = VIEWS[HALF].nbytes


def test_rows_that_are_all_taken_in_order_are_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "views.npy", VIEWS)
    mapped = np.load(tmp_path / "views.npy", mmap_mode="r")
    blocks = Blocks()
    assert blocks.take("all", mapped, np.arange(10)) is mapped
    assert blocks.bytes == 0


def test_copies_are_kept_up_to_a_size_and_the_ones_used_last_stay() -> None:
    blocks = Blocks(most=2 * BYTES)
    first = blocks.take("first", VIEWS, HALF)
    assert (first == VIEWS[:5]).all()
    blocks.take("second", VIEWS, HALF)
    assert blocks.take("first", VIEWS, HALF) is first
    blocks.take("third", VIEWS, HALF)
    assert blocks.bytes == 2 * BYTES
    assert blocks.take("first", VIEWS, HALF) is first, "it was used after the second"


def test_a_copy_that_is_larger_than_all_that_may_stay_is_not_kept() -> None:
    blocks = Blocks(most=BYTES - 1)
    assert (blocks.take("one", VIEWS, HALF) == VIEWS[:5]).all()
    assert blocks.bytes == 0
