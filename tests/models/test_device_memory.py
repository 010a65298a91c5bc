"""What stays on a device is decided by what is free there; either way the images are the same. Needs no GPU."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ray_ue.exploiter import packed_rows
from ray_ue.exploiter.packed_rows import PackedRows, PagedRows
from ray_ue.images.augment import draw_crops
from ray_ue.models import device_memory
from ray_ue.models.device_memory import fits, free_bytes

GIB, GPU, CPU = 2**30, torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(
    ("need", "device", "free", "stays"),
    [
        (154 * 10**6, GPU, 79 * GIB, True),  # CIFAR-10's deltas
        (335 * GIB, GPU, 139 * GIB, False),  # ImageNet at 256 pixels, packed
        (10 * GIB, GPU, 19 * GIB, False),
        (10 * GIB, CPU, 24 * GIB, False),  # several lanes share a machine's memory
        (5 * GIB, CPU, 24 * GIB, True),
    ],
)
def test_rows_stay_on_a_device_with_room_for_them_and_for_the_rest(need: int, device: torch.device, free: int, stays: bool) -> None:
    assert fits(need, device=device, free=free) is stays


def test_free_memory_is_what_the_machine_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (facts := tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       7 kB\n")
    monkeypatch.setattr(device_memory, "MEMINFO", facts)
    assert free_bytes(CPU) == 7168
    monkeypatch.setattr(device_memory, "MEMINFO", tmp_path / "absent")
    assert free_bytes(CPU) > 0


def test_rows_that_do_not_fit_are_read_batch_by_batch_and_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "pixels.npy", np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    rows = np.array([30, 2, 2, 17])
    kept = packed_rows.packed_rows(pixels, device=CPU)
    monkeypatch.setattr(packed_rows, "free_bytes", lambda device: 4 * pixels.nbytes)
    paged = packed_rows.packed_rows(pixels, device=CPU)
    assert isinstance(kept, PackedRows)
    assert isinstance(paged, PagedRows)
    crops = draw_crops(4, canvas=8, size=8, flips=0.5, rng=np.random.default_rng(1))
    assert torch.equal(kept.crops(rows, crops), paged.crops(rows, crops))
