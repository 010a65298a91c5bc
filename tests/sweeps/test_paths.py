"""A path may be a `pathlib.Path` wherever one is taken."""

from pathlib import Path

import pytest
from conftest import write_classes

import ray_ue


def test_a_sweep_and_a_measurement_take_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing"):
        ray_ue.sweep(tmp_path / "missing", tmp_path / "out", test=tmp_path / "test", vary=("budget=8,16",))
    with pytest.raises(ValueError, match="missing"):
        ray_ue.measure(tmp_path / "missing.evaluation")


def test_a_sweep_is_not_tested_on_its_own_source(tmp_path: Path) -> None:
    photos = write_classes(tmp_path / "photos", range(12))
    with pytest.raises(ValueError, match="the very images that victims train on"):
        ray_ue.sweep(photos, tmp_path / "swept", test=photos, vary="budget=8,16")
    assert not (tmp_path / "swept").exists()
