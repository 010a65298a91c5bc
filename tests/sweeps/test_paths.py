"""A path may be a `pathlib.Path` wherever one is taken."""

from pathlib import Path

import pytest

import ray_ue


def test_a_sweep_and_a_measurement_take_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing"):
        ray_ue.sweep(tmp_path / "missing", tmp_path / "out", test=tmp_path / "test", vary=("budget=8,16",))
    with pytest.raises(ValueError, match="missing"):
        ray_ue.measure(tmp_path / "missing.evaluation")
